"""Resolve declared hypotheses to models and test them on their records."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from stages.paradigms.layer_values import is_measured, layer_values, plain_values
from stages.paradigms.params import Hypotheses, Hypothesis
from stages.paradigms.training_metrics import Training, read_training
from stages.shared.params import ParamsError
from stages.shared.study import RECIPES, Study, all_tasks, organism_models
from stages.statistics.contrast import LayerValues, contrast
from stages.statistics.legacy import over_layers
from stages.statistics.verdict import holm, scope, verdict

# Quantity: the measure and variant that the prior study tested.
LEGACY = {"preservation_index": ("preservation", "raw_legacy"), "effective_rank": ("effective_rank", "raw_singular")}
# Effect: the distance from the base at which the control is matched.
MATCHED = {"at_matched_displacement": "displacement", "at_matched_kl": "kl"}


def model_pairs(hypothesis: Hypothesis, study: Study) -> list[tuple[str, str]]:
    """Return the (more, less) models, one pair a family; none when an organism is left out of this study.

    Raises ParamsError on a name that is neither an organism nor a model of the study.
    """
    sides = (hypothesis.more, hypothesis.less)
    for name in sides:
        if name not in RECIPES and name not in study.models:
            names = ", ".join([*RECIPES, *study.models])
            raise ParamsError(
                f"hypotheses.declared: {hypothesis.name} names {name!r}, which is no organism and not in study.models: expected one of {names}"
            )
    slugs = [name in study.models for name in sides]
    if all(slugs):
        references = [study.models[name] for name in sides]
        if references[0] != references[1]:
            raise ParamsError(
                f"hypotheses.declared: {hypothesis.name}: {' and '.join(sides)} have different references, {' and '.join(references)}"
            )
        return [sides]
    if any(slugs):
        raise ParamsError(
            f"hypotheses.declared: {hypothesis.name} compares an organism with a model of study.models ({' and '.join(sides)}): they have no common base"
        )
    if missing_organisms(hypothesis, study):
        return []
    return [(f"{hypothesis.more}-s{seed}", f"{hypothesis.less}-s{seed}") for seed in study.seeds]


def missing_organisms(hypothesis: Hypothesis, study: Study) -> list[str]:
    """Return the organisms of the hypothesis that this study does not run."""
    return [
        name for name in (hypothesis.more, hypothesis.less) if name not in study.models and name not in study.organisms
    ]


def assess(params: Hypotheses, study: Study, k: int, records: Path, training: Path) -> list[dict]:
    """Return one row for each declared hypothesis, in order: estimates, p Holm-corrected over those tested, and verdicts.

    A row is one of `plots/hypotheses.csv`; `metrics.hypothesis_metrics` chooses from it. ``k``: leading directions of
    preservation. ``records``, ``training``: the folders of the measured models' tables and of the training records.
    Raises ParamsError and TableError as `model_pairs`, `layer_values.layer_values` and `read_training` do.
    """
    rows = [_estimate(hypothesis, params, study, k, records, training) for hypothesis in params.declared]
    tested = [row for row in rows if "estimate" in row]
    for row, p in zip(tested, holm([row["p"] for row in tested]), strict=True):
        row["p_holm"] = float(p)
        margins = (params.margins.strong, params.margins.moderate, params.margins.equivalent)
        row["verdict"] = row.pop("unmatched") or verdict(row["low"], row["high"], row["p_holm"], margins, params.alpha)
    return rows


def _estimate(hypothesis: Hypothesis, params: Hypotheses, study: Study, k: int, records: Path, training: Path) -> dict:
    """Return everything about one hypothesis but its corrected p and verdict."""
    row = {
        "hypothesis": hypothesis.name,
        **hypothesis.model_dump(include={"quantity", "more", "less", "effect", "aggregation"}),
    }
    pairs = model_pairs(hypothesis, study)
    if absent := missing_organisms(hypothesis, study):
        return row | {
            "verdict": f"not tested: {' and '.join(absent)} {'is' if len(absent) == 1 else 'are'} not in study.organisms"
        }
    if not pairs:
        return row | {"verdict": "not tested: study.seeds is empty"}
    values = [
        tuple(_quantity(records / model, hypothesis, params.site, k, all_tasks(study)) for model in pair)
        for pair in pairs
    ]
    try:
        estimates = contrast(values, 1 - params.alpha, params.families_for_paradigms)  # estimate, low, high, p …
    except ValueError as error:
        return row | {"verdict": f"not tested: {error}"}
    row |= {"families": len(pairs), "scope": scope(len(pairs), params.families_for_paradigms), **estimates._asdict()}
    row |= _distances(hypothesis, pairs, study, params.matched_within, training)
    return row | _legacy(records, pairs[0], hypothesis, params.site, all_tasks(study))


def _quantity(folder: Path, hypothesis: Hypothesis, site: str, k: int, tasks: Sequence[str]) -> LayerValues:
    """Return a model's values of the hypothesis' quantity along layers; effective ranks as logarithms, for relative differences."""
    location = (hypothesis.aggregation, site, tasks)
    if hypothesis.quantity == "preservation_index":
        return layer_values(folder, "preservation", f"centred_k{k}", "index", *location)
    return layer_values(folder, "effective_rank", "centred_singular", "value", *location, np.log)


def _distances(
    hypothesis: Hypothesis, pairs: Sequence[tuple[str, str]], study: Study, largest_gap: float, training: Path
) -> dict:
    """Return displacement and KL of both sides, means over families, and why a controlled effect is not decided."""
    records = [[_training(model, study, training) for model in pair] for pair in pairs]
    more, less = zip(*records, strict=True)
    means = {
        "displacement_more": float(np.mean([side.displacement for side in more])),
        "displacement_less": float(np.mean([side.displacement for side in less])),
        "kl_more": float(np.mean([side.kl for side in more])),
        "kl_less": float(np.mean([side.kl for side in less])),
    }
    distance = MATCHED.get(hypothesis.effect)
    gaps = [side.gap for pair in records for side in pair if distance and side.matched_by == distance]
    gap = max(gaps, default=float("nan"))
    return means | {"matching_gap": gap, "unmatched": _unmatched(distance, len(gaps) == len(pairs), gap, largest_gap)}


def _training(model: str, study: Study, folder: Path) -> Training:
    if model in study.models:
        return Training()
    if organism_models(study)[model] == model:
        return Training(displacement=0.0, kl=0.0)  # a base, against itself
    return read_training(folder / f"{model}.json")


def _unmatched(distance: str | None, recorded: bool, gap: float, largest_gap: float) -> str:
    """Return why the effect at matched ``distance`` cannot be told, or nothing."""
    if not distance:
        return ""
    if not recorded:
        return f"not decided: no record that either side was matched by {distance}"
    if not gap <= largest_gap:
        return f"not decided: the control is not matched (gap {100 * gap:.1f} % of the wanted {distance}, at most {100 * largest_gap:g} %)"
    return ""


def _legacy(records: Path, pair: tuple[str, str], hypothesis: Hypothesis, site: str, tasks: Sequence[str]) -> dict:
    """Return the prior study's tests on its own kind of number, layers as samples, tasks averaged; of one family, as there."""
    variant = LEGACY[hypothesis.quantity]
    if not all(is_measured(records / model, *variant, hypothesis.aggregation, site) for model in pair):
        return {}  # measured at the study's own position only
    more, less = (
        plain_values(records / model, *variant, hypothesis.aggregation, site, tasks).mean(axis=0) for model in pair
    )  # (layers,)
    finite = np.isfinite(more) & np.isfinite(less)
    if finite.sum() < 2:
        return {}
    tests = over_layers(more[finite], less[finite])
    return {
        "legacy_welch_t": tests.welch_t,
        "legacy_welch_p": tests.welch_p,
        "legacy_mann_whitney_u": tests.mann_whitney_u,
        "legacy_mann_whitney_p": tests.mann_whitney_p,
        "legacy_cohen_d": tests.cohen_d,
        "legacy_decision": tests.decision,
        "legacy_pseudo_replicated": True,
    }
