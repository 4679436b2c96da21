"""The few numbers of one probed model that a person compares between runs."""

from __future__ import annotations

import math

import pandas as pd

from stages.paradigms.params import Probe


def headline(records: pd.DataFrame, weights: pd.DataFrame, displacement: float, params: Probe) -> dict:
    """Means over tasks and layers, and over matrices; a quantity without any value is left out."""
    last = records[records["layer"] == records["layer"].max()]
    share = f"share_{params.overlap_shares[0]:g}"
    found = {
        "relative_noise_response_last_layer": _mean(last, "relative_noise_response"),
        "jacobian_frobenius_norm": _mean(records, "jacobian_frobenius_norm"),
        "expansion_exponent": _mean(records, "expansion_exponent"),
        "displacement": displacement,
        "update_effective_rank_over_null": _over_null(weights, "update_effective_rank", "singular"),
        f"overlap_both_{share}_over_chance": _over_null(weights, "overlap_both", share),
    }
    return {name: value for name, value in found.items() if not math.isnan(value)}


def _mean(records: pd.DataFrame, measure: str) -> float:
    return float(records.loc[records["measure"] == measure, "value"].mean())


def _over_null(weights: pd.DataFrame, measure: str, variant: str) -> float:
    """Mean over matrices of the value over its null."""
    rows = weights[(weights["measure"] == measure) & (weights["variant"] == variant)]
    return float((rows["value"] / rows["null"]).mean())
