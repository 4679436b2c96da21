"""The quality gate between a forward pass and the activation file.

A prompt is usable when every vector kept of it is finite and has a norm within the bounds. The file holds
the usable prompts only, under their ids; the report lists the others. Two models that dropped different
prompts are then not comparable, and `store.require_comparable` says so: nothing is silently intersected.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from stages.activations.params import Collect
from stages.activations.positions import hook_names
from stages.paradigms.shards import Merged

LISTED = 5  # prompts named in an error


class QualityError(ValueError):
    """The activations of a model on a task are not fit for measuring; the message says which and why."""


class Checked(NamedTuple):
    """The usable prompts of a task, and what was checked."""

    usable: np.ndarray
    """Rows of the usable prompts, in order."""
    report: dict
    """Counts, dropped prompts with the reason, norms per aggregation and site, for people."""


def check_quality(
    merged: Merged, prompt_ids: Sequence[str], offsets: np.ndarray, layers: int, params: Collect
) -> Checked:
    """Return the usable prompts and the report, by the bounds of ``params.quality``.

    ``offsets`` (n_prompts + 1,) are the row bounds of the prompts in all_tokens. Memory: one number a row.
    Raises QualityError naming the first unusable prompts where too few are usable.
    """
    sites, aggregations, bounds = params.sites, params.aggregations, params.quality
    hooks = hook_names(sites, layers)
    reasons: dict[str, str] = {}
    summaries: dict[str, list[dict]] = {aggregation: [] for aggregation in aggregations}
    for aggregation in aggregations:
        for number, hook in enumerate(hooks):
            norms = merged.norms(aggregation, number)  # (rows,)
            bad = ~((norms >= bounds.norm_low) & (norms <= bounds.norm_high))  # also true for NaN
            for row in np.flatnonzero(bad):
                prompt = row if aggregation != "all_tokens" else int(np.searchsorted(offsets, row, side="right")) - 1
                reasons.setdefault(prompt_ids[prompt], f"norm {norms[row]:.3g} at {aggregation}/{hook}")
            summaries[aggregation].append(_summary(norms, merged.peaks(aggregation, number)))
    usable = np.array([row for row, prompt in enumerate(prompt_ids) if prompt not in reasons], dtype=int)
    if len(usable) < bounds.usable * len(prompt_ids):
        listed = "; ".join(f"{prompt}: {reason}" for prompt, reason in list(reasons.items())[:LISTED])
        raise QualityError(
            f"only {len(usable)} of {len(prompt_ids)} prompts are usable, {bounds.usable:.0%} expected "
            f"(finite, norm within {bounds.norm_low:g} and {bounds.norm_high:g}): {listed}; "
            "check the weights, use collect.precision float32, or widen collect.quality in params.yaml"
        )
    report = {
        "prompts": len(prompt_ids),
        "usable": len(usable),
        "dropped": reasons,
        "hooks": len(hooks) * len(aggregations),
        "norms": {a: _by_site(summaries[a], sites, layers) for a in aggregations},
    }
    return Checked(usable, report)


def _summary(norms: np.ndarray, peaks: np.ndarray) -> dict[str, float | None]:
    """Return median norm, largest norm over it and largest value of the finite rows of a hook: massive activations show."""
    finite = np.isfinite(norms)
    if not finite.any():
        return {"median": None, "largest_over_median": None, "largest_value": None}
    median = float(np.median(norms[finite]))
    return {
        "median": median,
        "largest_over_median": float(norms[finite].max()) / median if median else None,
        "largest_value": float(peaks[finite].max()),
    }


def _by_site(summaries: list[dict], sites: Sequence[str], layers: int) -> dict[str, dict[str, list]]:
    """Return one list over layers for each site and quantity."""
    return {
        site: {
            quantity: [row[quantity] for row in summaries[i * layers : (i + 1) * layers]] for quantity in summaries[0]
        }
        for i, site in enumerate(sites)
    }
