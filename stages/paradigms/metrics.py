"""The few numbers that a person compares between runs: everything in this study's metrics files.

| file | function |
|---|---|
| `metrics/measure/{model}.json` | `measure_metrics` |
| `metrics/probe/{model}.json` | `probe_metrics` |
| `metrics/perturb/{model}.json` | `perturbation_metrics` |
| `metrics/paths/{model}.json` | `path_metrics` |
| `metrics/test.json` | `hypothesis_metrics` |

The tables hold all numbers; a quantity without any value is left out here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from stages.paradigms.params import MeasureParams, ProbeParams
from stages.paradigms.perturbed_records import mean_index
from stages.paradigms.tables import RANDOM_KINDS

# Columns of the rows of `hypotheses.assess` that are told, under the same key.
HYPOTHESIS_KEYS = (
    "estimate",
    "low",
    "high",
    "p_holm",
    "verdict",
    "scope",
    "cohen_dz",
    "family_sd",
    "mixed_p",
    "mixed_note",
)
# Key under `legacy_over_layers`: the column of the prior study's test.
LEGACY_KEYS = {
    "welch_p": "legacy_welch_p",
    "mann_whitney_p": "legacy_mann_whitney_p",
    "cohen_d": "legacy_cohen_d",
    "legacy_decision": "legacy_decision",
}


def measure_metrics(records: pd.DataFrame, params: MeasureParams) -> dict:
    """Return means of the table `records` over all tasks and over the layers of the sites with intervals."""
    sites = params.interval_sites or sorted(set(records["site"]))
    records = records[records["site"].isin(sites)]
    k, position = params.headline_k, params.aggregation

    def mean(measure: str, variant: str, quantity: str, aggregation: str) -> float:
        chosen = (records["measure"] == measure) & (records["variant"] == variant)
        return float(records.loc[chosen & (records["aggregation"] == aggregation), quantity].dropna().mean())

    preservation = {
        "same_prompts": mean("preservation", f"centred_k{k}", "value", position),
        "index": mean("preservation", f"centred_k{k}", "index", position),
        **{f"index_at_{name}": mean("preservation", f"centred_k{k}", "index", name) for name in params.positions},
    }
    ranks = mean("effective_rank", "centred_singular", "value", position)
    means = {"effective_rank_centred_singular": ranks, "cka_debiased": mean("cka", "debiased", "value", position)}
    preservation = _without_missing(preservation)
    return ({f"preservation_centred_k{k}": preservation} if preservation else {}) | _without_missing(means)


def probe_metrics(records: pd.DataFrame, weights: pd.DataFrame, displacement: float, params: ProbeParams) -> dict:
    """Return means over tasks and layers of ``records``, and over the matrices of ``weights``, the tables of a probe."""
    last_layer = records[records["layer"] == records["layer"].max()]
    share = f"share_{params.overlap_shares[0]:g}"
    means = {
        "relative_noise_response_last_layer": _mean(last_layer, "relative_noise_response"),
        "jacobian_frobenius_norm": _mean(records, "jacobian_frobenius_norm"),
        "expansion_exponent": _mean(records, "expansion_exponent"),
        "displacement": displacement,
        "update_effective_rank_over_null": _mean_over_null(weights, "update_effective_rank", "singular"),
        f"overlap_both_{share}_over_chance": _mean_over_null(weights, "overlap_both", share),
    }
    return _without_missing(means)


def perturbation_metrics(table: pd.DataFrame, like: str, matched: float | None) -> dict:
    """Return the index of a model, of its nulls and of the two points that share its directions.

    Each is the mean over tasks and layers of ``table`` (`perturbed_records.perturbed_rows`). ``matched``: the t at
    which the line to the model has the displacement of ``like``, if it has. Ranks are
    p = (1 + #{nulls that keep no more (no less)}) / (draws + 1): a small ``p_keeps_less`` says that the model keeps
    less than random updates of its size do, a small ``p_keeps_more`` that it keeps more. Each is one-sided; double
    the smaller one for a two-sided p.
    """
    points = mean_index(table)
    interpolation = points[points["kind"] == "interpolation"].set_index("t")
    observed = float(interpolation.loc[1.0, "index"])
    content = {
        "displacement": float(interpolation.loc[1.0, "displacement"]),
        "index": observed,
        "negated": {"index": float(points.loc[points["kind"] == "negated", "index"].iloc[0])},
    }
    for kind in RANDOM_KINDS:
        nulls = points.loc[points["kind"] == kind, "index"]
        content[kind] = {
            "mean": float(nulls.mean()),
            "lowest": float(nulls.min()),
            "highest": float(nulls.max()),
            "p_keeps_less": float((1 + (nulls <= observed).sum()) / (len(nulls) + 1)),
            "p_keeps_more": float((1 + (nulls >= observed).sum()) / (len(nulls) + 1)),
        }
    if matched is not None:
        content[f"at_displacement_of_{like}"] = {"index": float(interpolation.loc[matched, "index"])}
    return content


def path_metrics(rows: Sequence[dict]) -> dict[str, float]:
    """Return means over tasks and layers of the ``rows`` of `path_records.measure_paths`: deepest signature and areas."""
    means = {}
    for measure in ("signature_distance", "signature_shift", "signed_area_distance"):
        variant = [row["variant"] for row in rows if row["measure"] == measure][-1]
        values = [r["value"] for r in rows if (r["measure"], r["variant"], r["missing"]) == (measure, variant, "")]
        if values:
            means[f"{measure}_{variant}"] = float(np.mean(values))
    return means


def hypothesis_metrics(rows: Sequence[dict]) -> dict[str, dict]:
    """Return what is told of each declared hypothesis, by its name, such as `rl_zero_over_sft`.

    ``rows``: one for each hypothesis, from `hypotheses.assess`, which computes every number.
    """
    return {row["hypothesis"]: _hypothesis_leaves(row) for row in rows}


def _hypothesis_leaves(row: dict) -> dict:
    leaves = {key: row[key] for key in HYPOTHESIS_KEYS if key in row and _has_value(row[key])}
    if _has_value(row.get("legacy_welch_p", math.nan)):
        legacy = {key: row[column] for key, column in LEGACY_KEYS.items()}
        leaves["legacy_over_layers"] = legacy | {"pseudo_replicated": True}
    return leaves


def _has_value(value: float | str) -> bool:
    return value != "" if isinstance(value, str) else not math.isnan(value)


def _without_missing(numbers: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in numbers.items() if not math.isnan(value)}


def _mean(records: pd.DataFrame, measure: str) -> float:
    return float(records.loc[records["measure"] == measure, "value"].mean())


def _mean_over_null(weights: pd.DataFrame, measure: str, variant: str) -> float:
    """Return the mean over matrices of the value over its null."""
    rows = weights[(weights["measure"] == measure) & (weights["variant"] == variant)]
    return float((rows["value"] / rows["null"]).mean())
