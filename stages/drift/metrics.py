"""What the drift study says: the course of every line over depth, its transitions, and the few numbers of metrics/drift.json."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from stages.drift.clouds import CONTENT
from stages.drift.comparisons import SIZES, Subject
from stages.drift.curves import Curve, curve, families_of, size_curve
from stages.drift.params import Drift
from stages.drift.samples import FINAL
from stages.statistics.layer_trend import FEWEST_LAYERS, Estimate, LayerTrend, estimate, layer_trend, spread
from stages.statistics.rank_correlation import spearman
from stages.statistics.transitions import FEWEST_STEPS, Transitions, detect

log = logging.getLogger(__name__)
Tables = Mapping[str, pd.DataFrame]
KINDS = ("layers", "models")
SIMPLE = ("identity_cost", "all_cosine")
"""Cheap distances that transport is set beside, over all pairs of layers."""
TRANSITIONS = [
    "line", "kind", "step", "value", "standard_error", "z", "transition", "size", "p", "threshold", "segment", "level",
]  # fmt: skip
COURSE = ["line", "kind", "quantity", "value", "standard_error", "low", "high", "label"]


def summarise(tables: Tables, subjects: Sequence[Subject], params: Drift) -> tuple[dict, dict[str, pd.DataFrame]]:
    """The metrics, and the tables ``transitions`` (a row a step of a curve) and ``course`` (a row a number with interval)."""
    metrics: dict = {kind: {} for kind in KINDS} | {"rank_correlation_with_w2": {}}
    transitions, course = [], []
    for line, members in families_of(subjects).items():
        models = [subject.model for subject in members]
        for kind in KINDS if members[0].model != members[0].reference else KINDS[:1]:
            found = curve(tables, models, kind, "w2", params.basis)
            if len(found.y) < FEWEST_LAYERS:
                log.warning("%s has %d points of %s: too few for a course over depth", line, len(found.y), kind)
                continue
            trend = layer_trend(found.y, found.deviations, params.confidence)
            course += _trend_rows(line, kind, trend, late_share(found, params.confidence))
            metrics[kind][line] = _leaves(kind, trend, found, params.confidence)
            if kind == "layers":
                course += _size_rows(tables, line, models, params)
            if len(found.y) >= FEWEST_STEPS:
                steps = detect(found.y, found.deviations, params.draws, params.seed, params.confidence)
                transitions.append(_transition_rows(line, kind, found, steps))
                if kind == "layers":
                    metrics[kind][line]["transitions"] = len(steps.steps)
        if members[0].model == members[0].reference:
            metrics["rank_correlation_with_w2"][line] = _against_simple(tables, models, params)
    whole = pd.concat(transitions, ignore_index=True) if transitions else pd.DataFrame(columns=TRANSITIONS)
    return metrics, {"transitions": whole, "course": pd.DataFrame(course, columns=COURSE)}


def late_share(found: Curve, confidence: float) -> Estimate:
    """late / (early + middle + late) of the means of the thirds; its error by the derivative of that ratio.

    A third where all depths move alike; in it the size of the whole curve cancels. NaN where nothing moves.
    """
    early, middle, late = (part.mean(axis=-1) for part in np.array_split(found.y, 3))
    total = early + middle + late
    own = [part.mean(axis=-1) for part in np.array_split(found.deviations, 3, axis=-1)]  # (K,) each
    if total == 0:
        return Estimate(*[float("nan")] * 4)
    share = late / total
    deviations = (own[2] - share * sum(own)) / total
    return estimate(float(share), deviations, confidence)


def mean_over_depth(found: Curve, confidence: float) -> Estimate:
    return estimate(float(found.y.mean()), found.deviations.mean(axis=-1), confidence)


def _leaves(kind: str, trend: LayerTrend, found: Curve, confidence: float) -> dict:
    mean = mean_over_depth(found, confidence)
    if kind == "layers":
        return {f"w2_{found.basis}_mean": mean.value, "course": trend.label}
    share = late_share(found, confidence)
    return {
        f"w2_{found.basis}_mean": {"value": mean.value, "low": mean.low, "high": mean.high},
        "late_share": {"value": share.value, "low": share.low, "high": share.high}
        if np.isfinite(share.value)
        else {"missing": "nothing moved"},
    }


def _size_rows(tables: Tables, line: str, models: Sequence[str], params: Drift) -> list[dict]:
    """Whether clouds spread or are compressed over depth, in extent and in directions."""
    changes = {name: spread(*size_curve(tables, models, name), params.confidence) for name in SIZES}
    return [_row(line, "layers", f"{name}_change", found.change, found.label) for name, found in changes.items()]


def _trend_rows(line: str, kind: str, trend: LayerTrend, share: Estimate) -> list[dict]:
    estimates = {name: value for name, value in trend._asdict().items() if name != "label"} | {"late_share": share}
    return [_row(line, kind, name, estimate, trend.label) for name, estimate in estimates.items()]


def _row(line: str, kind: str, quantity: str, estimate: Estimate, label: str) -> dict:
    return {"line": line, "kind": kind, "quantity": quantity, **estimate._asdict(), "label": label}


def _transition_rows(line: str, kind: str, found: Curve, steps: Transitions) -> pd.DataFrame:
    """Every step of a curve; the columns transition, size and p are empty where there is none."""
    of_step = {
        step: {"transition": name, "size": size, "p": p}
        for step, name, size, p in zip(steps.steps.tolist(), steps.kinds, steps.sizes, steps.p, strict=True)
    }
    segments = {
        step: {"segment": number, "level": segment.level}
        for number, segment in enumerate(steps.segments)
        for step in range(segment.first, segment.last + 1)
    }
    rows = [
        {"line": line, "kind": kind, "step": step, "value": value, "standard_error": error, "z": z, "threshold": steps.threshold}
        | of_step.get(step, {"transition": "", "size": np.nan, "p": np.nan}) | segments[step]
        for step, (value, error, z) in enumerate(zip(found.y, found.standard_errors, steps.z, strict=True))
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=TRANSITIONS)


def _against_simple(tables: Tables, models: Sequence[str], params: Drift) -> dict[str, float]:
    """Spearman correlation of W2 with cheap distances over all pairs of layers, mean over tasks and families."""
    records = tables["records"]
    own = records[
        records["model"].isin(models) & (records["kind"] == "layers") & (records["state"] == FINAL)
        & (records["basis"] == params.basis) & (records["tokens"] == CONTENT)
    ]  # fmt: skip
    wide = own.pivot(index=["model", "task", "point", "other_point"], columns="measure", values="value")
    found = {
        name: [
            float(spearman(group["w2"].to_numpy(), group[name].to_numpy())) for _, group in wide.groupby(level=[0, 1])
        ]
        for name in SIMPLE
    }
    return {name: float(np.mean(values)) for name, values in found.items()}
