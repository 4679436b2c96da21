"""Load, evaluate and save the organisms of a family: a base, and the siblings that are trained from it."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path
from typing import NamedTuple

import pandas as pd
from transformers import AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerFast
from transformers.utils import logging as transformers_logging

from stages.models.checkpoint import require_digests, saved_steps, step_folder, write_digests
from stages.models.tokenizers import read_tokenizer
from stages.organisms.evaluation import PromptEstimate, accuracy, displacement, gain, graded_samples, kl_divergence
from stages.organisms.params import Evaluation, Target
from stages.shared.files import FileSource, atomic, write_json
from stages.shared.tables import TableError, read_table, write_table

log = logging.getLogger(__name__)

MODELS = Path("data/models")
METRICS = Path("metrics/train")
CURVES = Path("plots/train")
SAMPLES = "samples.parquet"
Z95 = 1.959964
# The organisms are fine-tuned, rewarded and examined on these tasks.
TASKS = ["arithmetic", "logic", "strings"]


class Ancestors(NamedTuple):
    """The models that a sibling comes from."""

    base: PreTrainedModel
    base_samples: pd.DataFrame
    """The base's own graded completions of the held-out prompts."""
    parent: PreTrainedModel | None
    """The model that the sibling starts from, where that is not the base."""

    @property
    def start(self) -> PreTrainedModel:
        """Return the model that the sibling starts from."""
        return self.base if self.parent is None else self.parent


class TrainingResult(NamedTuple):
    """Everything that a training reports."""

    metrics: dict
    samples: pd.DataFrame
    """The graded completions of the held-out prompts, as `evaluation.graded_samples` has them."""
    curve: list[dict]
    """The training curve: rows of step, quantity, value."""


def model_name(organism: str, seed: int) -> str:
    """Return the name of an organism of the family ``seed``: that of its folder in data/models."""
    return f"{organism}-s{seed}"


def quiet_libraries() -> None:
    """Turn off the progress bars of transformers for every file that is read or written."""
    transformers_logging.disable_progress_bar()


def load_organism(name: str) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    """Load an organism in float32. Raises FileNotFoundError naming the stage that trains it."""
    folder = MODELS / name
    if not (folder / "model.safetensors").exists():
        raise FileNotFoundError(
            f"{folder}/model.safetensors not found: run `dvc repro {name.rpartition('-s')[0]}` or `dvc pull {folder}`"
        )
    require_digests(folder)
    model = AutoModelForCausalLM.from_pretrained(
        folder,
        dtype="float32",
        attn_implementation="eager",
        use_safetensors=True,
        trust_remote_code=False,
        local_files_only=True,
    )
    return model, read_tokenizer(folder, local=True)


def content_of(name: str) -> dict[str, str]:
    """Return the SHA-256 of each file that `load_organism` reads of an organism."""
    files = sorted(path for path in (MODELS / name).iterdir() if path.suffix in (".json", ".safetensors", ".jinja"))
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def load_ancestors(parent: str, seed: int, rows: list[dict]) -> Ancestors:
    """Load the base of the family ``seed`` and, where it is another organism, the ``parent``.

    Raises TableError unless the base was evaluated on the prompts of ``rows``, on which the sibling will be.
    """
    name = model_name("base", seed)
    base, _ = load_organism(name)
    path, fix = MODELS / name / SAMPLES, f"run the evaluation of both again: `dvc repro base@{seed}`"
    samples = read_table(path, FileSource("the graded samples of an organism", fix, TableError), name)
    if samples["id"].tolist() != [row["id"] for row in rows]:
        raise TableError(f"{path}: the base was evaluated on other prompts than this model would be; {fix}")
    return Ancestors(base, samples, None if parent == "base" else load_organism(model_name(parent, seed))[0])


def evaluate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    rows: list[dict],
    params: Evaluation,
    ancestors: Ancestors | None = None,
) -> tuple[dict, pd.DataFrame]:
    """Return the metrics of a trained organism and its graded samples on the held-out ``rows``.

    With ``ancestors`` the metrics hold its gain over the base and its distances from base and parent.
    """
    samples = graded_samples(model, tokenizer, rows, params)
    metrics = {
        "accuracy": {task: estimate._asdict() for task, estimate in accuracy(samples).items()},
        "format_share": float(samples["in_format"].mean()),
        "completion_tokens": float(samples["tokens"].mean()),
    }
    if ancestors is None:
        return metrics, samples
    base, base_samples, parent = ancestors
    kl_samples = samples.groupby("task", sort=False).head(params.kl_prompts)
    metrics["gain_over_base"] = with_interval(gain(samples, base_samples))
    metrics["displacement_from_base"] = displacement(model, base)
    metrics["kl_from_base"] = kl_divergence(model, base, tokenizer, kl_samples)._asdict()
    if parent is not None:
        metrics["displacement_from_parent"] = displacement(model, parent)
        metrics["kl_from_parent"] = kl_divergence(model, parent, tokenizer, kl_samples)._asdict()
    return metrics, samples


def with_interval(estimate: PromptEstimate) -> dict[str, float]:
    """Return the estimate as ``value`` with ``low`` and ``high`` of its 95 % interval."""
    margin = Z95 * estimate.standard_error
    return {"value": estimate.value, "low": estimate.value - margin, "high": estimate.value + margin}


def check_target(target: Target, metrics: dict) -> dict:
    """Return whether the quantity named by the target keeps its bound; a miss is reported and logged, not raised."""
    value = metrics
    for key in target.quantity.split("."):
        value = value[key]
    met = target.is_met(value)
    if not met:
        log.warning("missed target: %s is %.4g, wanted %s", target.quantity, value, target.bound())
    return {"quantity": target.quantity, "wanted": target.bound(), "value": value, "met": met}


def write_organism(
    name: str, folder: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, result: TrainingResult
) -> None:
    """Save the model with its samples into ``folder``, its metrics and its training curve in their places."""
    model.save_pretrained(folder)
    tokenizer.padding_side = "right"  # TRL turns it to the left for sampling
    tokenizer.save_pretrained(folder)
    write_table(folder / SAMPLES, result.samples[["task", "id", "correct", "in_format", "tokens"]], name)
    for written in (folder, *(step_folder(folder, step) for step in saved_steps(folder))):
        write_digests(written)
    with atomic(CURVES / f"{name}.csv") as temporary:
        pd.DataFrame(result.curve).to_csv(temporary, index=False, float_format="%.6g", lineterminator="\n")
    write_json(METRICS / f"{name}.json", result.metrics)
    log.info("%s: accuracy %.3f", name, result.metrics["accuracy"]["mean"]["value"])
