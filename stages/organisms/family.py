"""Where the members of a family lie, and how one is loaded and reported."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pandas as pd
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerFast
from transformers.utils import logging as transformers_logging

from stages.organisms.evaluation import Estimate, accuracy, displacement, gain, kl_divergence, sample_rows
from stages.organisms.params import Evaluation, Target
from stages.shared.files import atomic, write_json

log = logging.getLogger(__name__)

MODELS = Path("data/models")
METRICS = Path("metrics/train")
CURVES = Path("plots/train")
SAMPLES = "samples.parquet"
Z95 = 1.959964
TASKS = ["arithmetic", "logic", "strings"]
"""What the organisms are fine-tuned, rewarded and examined on."""


def model_name(organism: str, seed: int) -> str:
    return f"{organism}-s{seed}"


def quiet_libraries() -> None:
    """No progress bar for every file that is read or written."""
    transformers_logging.disable_progress_bar()


def load_organism(name: str) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    folder = MODELS / name
    if not (folder / "model.safetensors").exists():
        raise FileNotFoundError(
            f"{folder}/model.safetensors not found: run `dvc repro {name.rpartition('-s')[0]}` or `dvc pull {folder}`"
        )
    model = AutoModelForCausalLM.from_pretrained(
        folder, dtype="float32", attn_implementation="eager", use_safetensors=True, local_files_only=True
    )
    return model, AutoTokenizer.from_pretrained(folder, local_files_only=True)


def read_distance(name: str, by: str, parent: str) -> float:
    """Displacement or KL divergence from the ``parent`` that ``metrics/train/{name}.json`` reports."""
    path = METRICS / f"{name}.json"
    if not path.exists():
        raise FileNotFoundError(f"{path} not found: run `dvc repro {name.rpartition('-s')[0]}`")
    metrics = json.loads(path.read_text())
    moved = metrics[f"{by}_from_{'base' if parent == 'base' else 'parent'}"]
    return moved["value"] if by == "kl" else moved


def report(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    rows: list[dict],
    params: Evaluation,
    base: tuple[PreTrainedModel, pd.DataFrame] | None = None,
    parent: PreTrainedModel | None = None,
) -> tuple[dict, pd.DataFrame]:
    """Metrics of a trained organism and its samples on the held-out ``rows``.

    ``base`` is the family's base with its own samples; ``parent`` is given where it is another model.
    """
    samples = sample_rows(model, tokenizer, rows, params)
    metrics = {
        "accuracy": {task: estimate._asdict() for task, estimate in accuracy(samples).items()},
        "format_share": float(samples["in_format"].mean()),
        "completion_tokens": float(samples["tokens"].mean()),
    }
    first = samples.groupby("task", sort=False).head(params.kl_prompts)
    if base is not None:
        base_model, base_samples = base
        metrics["gain_over_base"] = interval(gain(samples, base_samples))
        metrics["displacement_from_base"] = displacement(model, base_model)
        metrics["kl_from_base"] = kl_divergence(model, base_model, tokenizer, first)._asdict()
    if parent is not None:
        metrics["displacement_from_parent"] = displacement(model, parent)
        metrics["kl_from_parent"] = kl_divergence(model, parent, tokenizer, first)._asdict()
    return metrics, samples


def interval(estimate: Estimate) -> dict[str, float]:
    """The estimate with its 95 % interval."""
    margin = Z95 * estimate.standard_error
    return {"value": estimate.value, "low": estimate.value - margin, "high": estimate.value + margin}


def check_target(target: Target, metrics: dict) -> dict:
    """Whether the quantity named by the target keeps its bound; a miss is reported and logged, not raised."""
    value = metrics
    for key in target.quantity.split("."):
        value = value[key]
    met = (target.at_least is None or value >= target.at_least) and (target.at_most is None or value <= target.at_most)
    if not met:
        log.warning("missed target: %s is %.4g, wanted %s", target.quantity, value, target.wanted())
    return {"quantity": target.quantity, "wanted": target.wanted(), "value": value, "met": met}


def write_organism(
    name: str, folder: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast,
    metrics: dict, samples: pd.DataFrame, curve: list[dict],
) -> None:  # fmt: skip
    """Save the model with its samples into ``folder``, its metrics and its training curve in their places."""
    model.save_pretrained(folder)
    tokenizer.padding_side = "right"  # TRL turns it to the left for sampling
    tokenizer.save_pretrained(folder)
    samples[["task", "id", "correct", "in_format", "tokens"]].to_parquet(folder / SAMPLES)
    with atomic(CURVES / f"{name}.csv") as temporary:
        pd.DataFrame(curve).to_csv(temporary, index=False, float_format="%.6g", lineterminator="\n")
    write_json(METRICS / f"{name}.json", metrics)
    log.info("%s: accuracy %.3f", name, metrics["accuracy"]["mean"]["value"])
