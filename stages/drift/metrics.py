"""The results of the drift study: the course of every recipe over depth, its transitions, and metrics/drift.json."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from stages.drift.clouds import CONTENT
from stages.drift.compared_models import ComparedModel, by_recipe
from stages.drift.depth_curves import DepthCurve, depth_curve, size_curve
from stages.drift.params import Drift
from stages.drift.sample_files import FINAL
from stages.statistics.deviations import IntervalEstimate, student_interval
from stages.statistics.layer_trend import FEWEST_LAYERS, LayerTrend, layer_trend, spread
from stages.statistics.rank_correlation import spearman
from stages.statistics.transitions import FEWEST_STEPS, Transitions, detect_transitions

log = logging.getLogger(__name__)
# Key of the mean W2 over depth, by the basis in which W2 is taken (drift.basis of params.yaml).
MEAN_W2_KEYS = {
    "raw": "w2_raw_mean",
    "unit": "w2_unit_mean",
    "shared_pca": "w2_shared_pca_mean",
    "shared_pca_unit": "w2_shared_pca_unit_mean",
}
# Cheap distances whose ranks over all pairs of layers are compared with those of W2.
CHEAP_DISTANCES = ("identity_cost", "all_cosine")
# Sizes of a cloud, see `comparisons.SIZES`, and the name of their change over depth.
SIZE_CHANGES = {
    "log_total_variance": "log_total_variance_change",
    "log_effective_rank": "log_effective_rank_change",
}
# Columns of plots/drift/transitions.csv and course.csv; `line` is the recipe, `kind` the comparison.
TRANSITION_COLUMNS = [
    "line", "kind", "step", "value", "standard_error", "z", "transition", "size", "p", "threshold", "segment", "level",
]  # fmt: skip
COURSE_COLUMNS = ["line", "kind", "quantity", "value", "standard_error", "low", "high", "label"]


def summarise(
    tables: Mapping[str, pd.DataFrame], compared: Sequence[ComparedModel], params: Drift
) -> tuple[dict, dict[str, pd.DataFrame]]:
    """Return the metrics, and the tables `transitions` (a row a step of a curve) and `course` (a row a quantity).

    A curve of too few depths is left out with a warning.
    """
    metrics: dict = {"layers": {}, "models": {}, "rank_correlation_with_w2": {}}
    transitions, course = [], []
    for recipe, members in by_recipe(compared).items():
        models = [member.model for member in members]
        for comparison in ("layers",) if members[0].is_reference else ("layers", "models"):
            curve = depth_curve(tables, models, comparison, "w2", params.basis)
            if len(curve.y) < FEWEST_LAYERS:
                log.warning("%s has %d points of %s: too few for a course over depth", recipe, len(curve.y), comparison)
                continue
            trend = layer_trend(curve.y, curve.deviations, params.confidence)
            course += _trend_rows(recipe, comparison, trend, late_share(curve, params.confidence))
            if comparison == "layers":
                course += _size_rows(tables, recipe, models, params)
                metrics["layers"][recipe] = layer_metrics(curve, trend, params)
            else:
                metrics["models"][recipe] = model_metrics(curve, params)
            if len(curve.y) >= FEWEST_STEPS:
                steps = detect_transitions(curve.y, curve.deviations, params.draws, params.seed, params.confidence)
                transitions.append(_transition_rows(recipe, comparison, curve, steps))
                if comparison == "layers":
                    metrics["layers"][recipe]["transitions"] = len(steps.steps)
        if members[0].is_reference:
            metrics["rank_correlation_with_w2"][recipe] = rank_correlation_with_w2(tables, models, params)
    steps = pd.concat(transitions, ignore_index=True) if transitions else pd.DataFrame(columns=TRANSITION_COLUMNS)
    return metrics, {"transitions": steps, "course": pd.DataFrame(course, columns=COURSE_COLUMNS)}


def layer_metrics(curve: DepthCurve, trend: LayerTrend, params: Drift) -> dict:
    """Return the mean W2 between adjacent depths, and the label of its course."""
    return {MEAN_W2_KEYS[params.basis]: mean_over_depth(curve, params.confidence).value, "course": trend.label}


def model_metrics(curve: DepthCurve, params: Drift) -> dict:
    """Return the mean W2 from the reference over all depths, and the share of the late third, with their intervals."""
    mean, share = mean_over_depth(curve, params.confidence), late_share(curve, params.confidence)
    return {
        MEAN_W2_KEYS[params.basis]: {"value": mean.value, "low": mean.low, "high": mean.high},
        "late_share": {"value": share.value, "low": share.low, "high": share.high}
        if np.isfinite(share.value)
        else {"missing": "nothing moved"},
    }


def mean_over_depth(curve: DepthCurve, confidence: float) -> IntervalEstimate:
    """Return the mean of the curve over depth."""
    return student_interval(float(curve.y.mean()), curve.deviations.mean(axis=-1), confidence)


def late_share(curve: DepthCurve, confidence: float) -> IntervalEstimate:
    """Return late / (early + middle + late) of the means of the thirds; its error by the derivative of that ratio.

    A third where all depths move alike; in it the size of the whole curve cancels. NaN where nothing moves.
    """
    early, middle, late = (part.mean(axis=-1) for part in np.array_split(curve.y, 3))
    total = early + middle + late
    thirds = [part.mean(axis=-1) for part in np.array_split(curve.deviations, 3, axis=-1)]  # (K,) each
    if total == 0:
        return IntervalEstimate(*[float("nan")] * 4)
    share = late / total
    deviations = (thirds[2] - share * sum(thirds)) / total
    return student_interval(float(share), deviations, confidence)


def rank_correlation_with_w2(
    tables: Mapping[str, pd.DataFrame], models: Sequence[str], params: Drift
) -> dict[str, float]:
    """Return Spearman's correlation of W2 with `CHEAP_DISTANCES` over pairs of layers, mean over tasks and families."""
    records = tables["records"]
    records = records[records["model"].isin(models) & (records["kind"] == "layers") & (records["state"] == FINAL)]
    records = records[(records["basis"] == params.basis) & (records["tokens"] == CONTENT)]
    wide = records.pivot(index=["model", "task", "point", "other_point"], columns="measure", values="value")
    correlations = {
        name: [
            float(spearman(group["w2"].to_numpy(), group[name].to_numpy())) for _, group in wide.groupby(level=[0, 1])
        ]
        for name in CHEAP_DISTANCES
    }
    return {name: float(np.mean(values)) for name, values in correlations.items()}


def _trend_rows(recipe: str, comparison: str, trend: LayerTrend, share: IntervalEstimate) -> list[dict]:
    estimates = {name: value for name, value in trend._asdict().items() if name != "label"} | {"late_share": share}
    return [_course_row(recipe, comparison, name, estimate, trend.label) for name, estimate in estimates.items()]


def _size_rows(tables: Mapping[str, pd.DataFrame], recipe: str, models: Sequence[str], params: Drift) -> list[dict]:
    """Return whether clouds spread or are compressed over depth, in extent and in directions."""
    rows = []
    for size, quantity in SIZE_CHANGES.items():
        spreading = spread(*size_curve(tables, models, size), params.confidence)
        rows.append(_course_row(recipe, "layers", quantity, spreading.change, spreading.label))
    return rows


def _course_row(recipe: str, comparison: str, quantity: str, estimate: IntervalEstimate, label: str) -> dict:
    return {"line": recipe, "kind": comparison, "quantity": quantity, **estimate._asdict(), "label": label}


def _transition_rows(recipe: str, comparison: str, curve: DepthCurve, steps: Transitions) -> pd.DataFrame:
    """Return every step of a curve; the columns transition, size and p are empty where there is none."""
    transitions = {
        step: {"transition": name, "size": size, "p": p}
        for step, name, size, p in zip(steps.steps.tolist(), steps.kinds, steps.sizes, steps.p, strict=True)
    }
    segments = {
        step: {"segment": number, "level": segment.level}
        for number, segment in enumerate(steps.segments)
        for step in range(segment.first, segment.last + 1)
    }
    no_transition = {"transition": "", "size": np.nan, "p": np.nan}
    rows = [
        {"line": recipe, "kind": comparison, "step": step, "value": value, "standard_error": error, "z": z}
        | {"threshold": steps.threshold, **transitions.get(step, no_transition), **segments[step]}
        for step, (value, error, z) in enumerate(zip(curve.y, curve.standard_errors, steps.z, strict=True))
    ]
    return pd.DataFrame(rows, columns=TRANSITION_COLUMNS)
