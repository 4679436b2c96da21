"""What the concepts study says: comparisons of autoencoders over seeds, targets, and the numbers of metrics/concepts.json."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd

from stages.concepts.autoencoder_params import Autoencoders
from stages.concepts.gate import GAUSSIAN, HEADLINE, TRUE
from stages.concepts.params import Concepts
from stages.concepts.state_files import FINAL
from stages.models.names import recipe_of
from stages.statistics.families import paired_t
from stages.statistics.verdict import holm

log = logging.getLogger(__name__)
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
"""Measures of every comparison; steering is the rise that a latent chosen by what it writes brings at the largest strength."""
SHOWN = ("purity", "leakage", "explained", "ce_recovered_zero")
"""Of each variant, in the metrics."""
TARGETS = {"purity": 0.10, "leakage": -0.20, "unexplained": 0.05}
"""Of the study that this one repeats, of a teacher over a random start: points of purity, relative leakage, and the largest
absolute difference in the unexplained share."""


def per_seed(quality: pd.DataFrame, steering: pd.DataFrame, model: str) -> pd.DataFrame:
    """Rows variant, noise, seed and a column a measure, means over kinds, of autoencoders on their own model ``model``."""
    own = quality[(quality["model"] == model) & (quality["on"] == model)]
    keys = ["variant", "noise", "seed"]
    table = own.groupby([*keys, "measure"])["value"].mean().unstack("measure")
    strongest = steering[
        (steering["strength"] == steering["strength"].max())
        & (steering["chosen"] == "writes")
        & (steering["level"] == "parent")
    ]
    return table.join(strongest.groupby(keys)["on_target"].mean().rename("steering")).reset_index()


def comparisons(seeds: pd.DataFrame, params: Autoencoders, confidence: float) -> Iterator[dict]:
    """Paired differences over seeds, Student's t-interval, p and its Holm correction over the measures of a comparison."""
    for name, pair in params.comparisons.items():
        rows = []
        sides = [_of(seeds, side, params) for side in (pair.more, pair.less)]
        for measure in COMPARED:
            if not all(measure in side for side in sides):
                continue
            both = pd.concat([side[measure] for side in sides], axis=1).dropna()
            if len(both) < 2:
                continue
            difference = (both.iloc[:, 0] - both.iloc[:, 1]).to_numpy()
            test = paired_t(difference, confidence)
            rows.append(
                {
                    "comparison": name, "more": pair.more, "less": pair.less, "measure": measure, "pairs": len(both),
                    "value": both.iloc[:, 0].mean(), "baseline": both.iloc[:, 1].mean(), "difference": difference.mean(),
                    "low": test.low, "high": test.high, "p": test.p,
                }
            )  # fmt: skip
        for row, p in zip(rows, holm([row["p"] for row in rows]) if rows else [], strict=True):
            yield row | {"p_holm": float(p)}


def _of(seeds: pd.DataFrame, variant: str, params: Autoencoders) -> pd.DataFrame:
    """By seed; of the first noise of the variant."""
    noise = params.variants[variant].noise[0] if variant in params.variants else 0.0
    return seeds[(seeds["variant"] == variant) & (seeds["noise"] == noise)].set_index("seed")


def targets(rows: list[dict], params: Autoencoders) -> dict[str, dict]:
    """Whether the comparison ``teacher_start`` reaches the targets of the original study, by its estimates."""
    found = {row["measure"]: row for row in rows if row["comparison"] == "teacher_start"}
    if not {"purity", "leakage", "explained"} <= set(found):
        return {}
    leakage = found["leakage"]
    values = {
        "purity": found["purity"]["difference"],
        "leakage": leakage["difference"] / leakage["baseline"] if leakage["baseline"] else 0.0,
        "unexplained": abs(found["explained"]["difference"]),
    }
    met = {
        "purity": values["purity"] >= TARGETS["purity"],
        "leakage": values["leakage"] <= TARGETS["leakage"],
        "unexplained": values["unexplained"] <= TARGETS["unexplained"],
    }
    return {name: {"value": float(values[name]), "wanted": TARGETS[name], "met": bool(met[name])} for name in TARGETS}


def headline(
    tables: Mapping[str, pd.DataFrame], questions: Mapping[str, dict[str, float]], params: Autoencoders, of: Concepts
) -> dict:
    """The few numbers; gates and interventions are means over kinds, and over families where there are several."""
    gate, interventions = tables["gate"], tables["interventions"]
    metrics: dict = {"gate": {}, "interventions": {}, "shared_with_reference": {}, "isa_questions": {}}
    strongest = interventions[interventions["strength"] == interventions["strength"].max()]
    for line, models in _lines(gate["model"].unique()).items():
        rows = gate[gate["model"].isin(models) & (gate["metric"] == HEADLINE) & (gate["null"] == TRUE)]
        noise = gate[gate["model"].isin(models) & (gate["state"] == FINAL) & (gate["null"] == GAUSSIAN)][
            "excess"
        ].mean()
        for state, own in rows.groupby("state"):
            name = line if state == FINAL else f"{line}_{state}"
            metrics["gate"][name] = {
                "members": own["members"].mean(), "others": own["others"].mean(), "kinds_passing": own["passes"].mean(),
                "excess_over_shuffled": (own["excess"] - own["shuffled"]).mean(),
                "excess_over_gaussian": own["excess"].mean() - noise,
            }  # fmt: skip
        moved = strongest[strongest["model"].isin(models)].groupby("method")["on_target"].mean()
        metrics["interventions"][line] = {
            method: moved[method] for method in ("unembedding", "random") if method in moved
        }
        answered = [found["parent_held_out"] for name, found in questions.items() if name in models and found]
        if answered:
            metrics["isa_questions"][line] = float(np.mean(answered))
    for line, models in _lines(tables["shared"]["model"].unique()).items():
        own = tables["shared"][tables["shared"]["model"].isin(models)]
        metrics["shared_with_reference"][line] = own.groupby("place")["cosine"].mean().to_dict()
    seeds = per_seed(tables["quality"], tables["steering"], params.model)
    means = seeds.groupby(["variant", "noise"])[[m for m in SHOWN if m in seeds]].mean()
    metrics["autoencoders"] = {
        variant if noise == 0 else f"{variant}_{noise:g}": {k: v for k, v in row.items() if np.isfinite(v)}
        for (variant, noise), row in means.iterrows()
    }
    compared = list(comparisons(seeds, params, of.confidence))
    metrics["targets"] = targets(compared, params)
    metrics["transfer_ce_recovered"] = _transfer(tables["quality"], params)
    return _plain({name: value for name, value in metrics.items() if value})


def _transfer(quality: pd.DataFrame, params: Autoencoders) -> dict:
    """Of autoencoders of the model on each sibling, and of the sibling's own, same seeds."""
    rows = quality[(quality["measure"] == "ce_recovered_zero") & (quality["on"] != params.model)]
    found = {}
    for sibling, own in rows.groupby("on"):
        seeds = own[own["model"] == sibling]["seed"].unique()
        moved = own[(own["model"] == params.model) & own["seed"].isin(seeds)]["value"].mean()
        found[recipe_of(str(sibling))] = {"moved": moved, "own": own[own["model"] == sibling]["value"].mean()}
    return found


def _lines(models) -> dict[str, list[str]]:
    """Models of each line: an organism's recipe, whatever the family."""
    found: dict[str, list[str]] = {}
    for model in models:
        found.setdefault(recipe_of(str(model)), []).append(str(model))
    return found


def _plain(value):
    """NumPy numbers as Python's."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    return value if isinstance(value, bool) else float(value)
