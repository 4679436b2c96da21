"""The results of the study: comparisons of autoencoders over seeds, targets, and the numbers of metrics/concepts.json."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import numpy as np
import pandas as pd

from stages.concepts.autoencoder_params import Autoencoders
from stages.concepts.gate import GAUSSIAN, HEADLINE, TRUE
from stages.concepts.params import Concepts
from stages.concepts.state_files import FINAL
from stages.models.names import recipe_of
from stages.statistics.families import paired_t
from stages.statistics.verdict import holm

# Measures of every comparison; steering is the rise that a latent chosen by what it writes brings at the largest strength.
COMPARED = (
    "purity",
    "leakage",
    "auroc",
    "consistency",
    "explained",
    "explained_causal",
    "ce_recovered_zero",
    "steering",
)
# Targets of the study that this one repeats, of a teacher over a random start: points of purity, relative leakage, and
# the largest absolute difference in the unexplained share.
TARGETS = {"purity": 0.10, "leakage": -0.20, "unexplained": 0.05}


def per_seed(quality: pd.DataFrame, steering: pd.DataFrame, model: str) -> pd.DataFrame:
    """Return rows of variant, noise, seed and a column a measure: means over kinds, of autoencoders on ``model``, their own."""
    model_rows = quality[(quality["model"] == model) & (quality["on"] == model)]
    keys = ["variant", "noise", "seed"]
    table = model_rows.groupby([*keys, "measure"])["value"].mean().unstack("measure")
    strongest = steering[
        (steering["strength"] == steering["strength"].max())
        & (steering["chosen"] == "writes")
        & (steering["level"] == "parent")
    ]
    return table.join(strongest.groupby(keys)["on_target"].mean().rename("steering")).reset_index()


def comparisons(seeds: pd.DataFrame, params: Autoencoders, confidence: float) -> Iterator[dict]:
    """Yield paired differences over seeds, with Student's t-interval, p and its Holm correction over the measures of a comparison."""
    for name, pair in params.comparisons.items():
        rows = []
        sides = [_first_noise(seeds, side, params) for side in (pair.more, pair.less)]
        for measure in COMPARED:
            if not all(measure in side for side in sides):
                continue
            paired = pd.concat([side[measure] for side in sides], axis=1).dropna()
            if len(paired) < 2:
                continue
            difference = (paired.iloc[:, 0] - paired.iloc[:, 1]).to_numpy()
            test = paired_t(difference, confidence)
            rows.append(
                {
                    "comparison": name,
                    "more": pair.more,
                    "less": pair.less,
                    "measure": measure,
                    "pairs": len(paired),
                    "value": paired.iloc[:, 0].mean(),
                    "baseline": paired.iloc[:, 1].mean(),
                    "difference": difference.mean(),
                    "low": test.low,
                    "high": test.high,
                    "p": test.p,
                }
            )
        for row, p in zip(rows, holm([row["p"] for row in rows]) if rows else [], strict=True):
            yield row | {"p_holm": float(p)}


def _first_noise(seeds: pd.DataFrame, variant: str, params: Autoencoders) -> pd.DataFrame:
    """Return the rows of the first noise of a variant, by seed."""
    noise = params.variants[variant].noise[0] if variant in params.variants else 0.0
    return seeds[(seeds["variant"] == variant) & (seeds["noise"] == noise)].set_index("seed")


def targets(rows: list[dict], params: Autoencoders) -> dict[str, dict]:
    """Return whether the comparison ``teacher_start`` reaches the targets of the original study, by its estimates."""
    measures = {row["measure"]: row for row in rows if row["comparison"] == "teacher_start"}
    if not {"purity", "leakage", "explained"} <= set(measures):
        return {}
    leakage = measures["leakage"]
    values = {
        "purity": measures["purity"]["difference"],
        "leakage": leakage["difference"] / leakage["baseline"] if leakage["baseline"] else 0.0,
        "unexplained": abs(measures["explained"]["difference"]),
    }
    met = {
        "purity": values["purity"] >= TARGETS["purity"],
        "leakage": values["leakage"] <= TARGETS["leakage"],
        "unexplained": values["unexplained"] <= TARGETS["unexplained"],
    }
    return {
        name: {"value": float(values[name]), "wanted": TARGETS[name], "met": bool(met[name])}
        for name in ("purity", "leakage", "unexplained")
    }


def study_metrics(
    tables: Mapping[str, pd.DataFrame],
    questions: Mapping[str, dict[str, float]],
    autoencoders: Autoencoders,
    concepts: Concepts,
) -> dict:
    """Return the numbers of metrics/concepts.json, those that can be computed.

    Numbers of models are means over kinds, and over families where there are several. ``questions`` are by model the
    shares of is-a questions answered rightly.
    """
    seeds = per_seed(tables["quality"], tables["steering"], autoencoders.model)
    compared = list(comparisons(seeds, autoencoders, concepts.confidence))
    metrics = {
        "gate": _gate_metrics(tables["gate"]),
        "interventions": _intervention_metrics(tables["interventions"]),
        "shared_with_reference": _shared_metrics(tables["shared"]),
        "isa_questions": _question_metrics(questions),
        "autoencoders": _autoencoder_metrics(seeds),
        "targets": targets(compared, autoencoders),
        "transfer_ce_recovered": transfer_metrics(tables["quality"], autoencoders.model),
    }
    return _plain({name: value for name, value in metrics.items() if value})


def _gate_metrics(gate: pd.DataFrame) -> dict[str, dict]:
    """Return what the gate reads of each recipe, and of ``{recipe}_untrained``, in the causal inner product."""
    metrics = {}
    for recipe, models in _models_by_recipe(gate["model"].unique()).items():
        rows = gate[gate["model"].isin(models)]
        noise = rows[(rows["state"] == FINAL) & (rows["null"] == GAUSSIAN)]["excess"].mean()
        for state, part in rows[(rows["metric"] == HEADLINE) & (rows["null"] == TRUE)].groupby("state"):
            metrics[recipe if state == FINAL else f"{recipe}_untrained"] = {
                "members": part["members"].mean(),
                "others": part["others"].mean(),
                "kinds_passing": part["passes"].mean(),
                "excess_over_shuffled": (part["excess"] - part["shuffled"]).mean(),
                "excess_over_gaussian": part["excess"].mean() - noise,
            }
    return metrics


def _intervention_metrics(interventions: pd.DataFrame) -> dict[str, dict]:
    """Return the rise of a kind's words under the largest dose of its vector, and of a random one, by recipe."""
    strongest = interventions[interventions["strength"] == interventions["strength"].max()]
    metrics = {}
    for recipe, models in _models_by_recipe(interventions["model"].unique()).items():
        rise = strongest[strongest["model"].isin(models)].groupby("method")["on_target"].mean()
        metrics[recipe] = {"unembedding": rise["unembedding"], "random": rise["random"]}
    return metrics


def _shared_metrics(shared: pd.DataFrame) -> dict[str, dict]:
    """Return the mean cosine of concept vectors with the reference's, by recipe and place."""
    metrics = {}
    for recipe, models in _models_by_recipe(shared["model"].unique()).items():
        cosine = shared[shared["model"].isin(models)].groupby("place")["cosine"].mean()
        metrics[recipe] = {"unembedding": cosine["unembedding"], "middle": cosine["middle"]}
    return metrics


def _question_metrics(questions: Mapping[str, dict[str, float]]) -> dict[str, float]:
    """Return the share of is-a questions on held-out words answered rightly, by recipe."""
    metrics = {}
    for recipe, models in _models_by_recipe(questions).items():
        shares = [questions[name]["parent_held_out"] for name in models if questions[name]]
        if shares:
            metrics[recipe] = float(np.mean(shares))
    return metrics


def _autoencoder_metrics(seeds: pd.DataFrame) -> dict[str, dict]:
    """Return four measures of each variant, and of ``{variant}_{noise}`` where noise was added: means over seeds.

    With massive tokens in the text there is a fifth.
    """
    metrics = {}
    for (variant, noise), rows in seeds.groupby(["variant", "noise"]):
        means = {
            "purity": _mean(rows, "purity"),
            "leakage": _mean(rows, "leakage"),
            "explained": _mean(rows, "explained"),
            "ce_recovered_zero": _mean(rows, "ce_recovered_zero"),
        }
        if (with_sinks := _mean(rows, "explained_with_sinks")) != means["explained"]:  # the text has massive tokens
            means["explained_with_sinks"] = with_sinks
        name = variant if noise == 0 else f"{variant}_{noise:g}"
        metrics[name] = {measure: mean for measure, mean in means.items() if np.isfinite(mean)}
    return metrics


def _mean(rows: pd.DataFrame, column: str) -> float:
    """Return the mean of a column; NaN where it is absent or empty."""
    return rows[column].mean() if column in rows else float("nan")


def transfer_metrics(quality: pd.DataFrame, model: str) -> dict[str, dict]:
    """Return the loss recovered on each sibling by autoencoders of ``model``, ``moved``, and by its ``own``, same seeds."""
    rows = quality[(quality["measure"] == "ce_recovered_zero") & (quality["on"] != model)]
    metrics = {}
    for sibling, part in rows.groupby("on", sort=False):
        sibling_rows = part[part["model"] == sibling]
        moved = part[(part["model"] == model) & part["seed"].isin(sibling_rows["seed"].unique())]
        metrics[recipe_of(str(sibling))] = {"moved": moved["value"].mean(), "own": sibling_rows["value"].mean()}
    return metrics


def _models_by_recipe(models: Iterable[str]) -> dict[str, list[str]]:
    """Return the models of each recipe, whatever the family; a model that is no organism by its own name."""
    recipes: dict[str, list[str]] = {}
    for model in models:
        recipes.setdefault(recipe_of(str(model)), []).append(str(model))
    return recipes


def _plain(value):
    """Return ``value`` with NumPy numbers as Python's."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    return value if isinstance(value, bool) else float(value)
