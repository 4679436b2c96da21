"""The quality gate between a forward pass and the activation file.

A prompt is usable when every vector kept of it is finite and has a norm within the bounds. The file holds
the usable prompts only, under their ids; the report lists the others. Two models that dropped different
prompts are then not comparable, and `store.require_comparable` says so: nothing is silently intersected.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from stages.activations.collection import Collected
from stages.models.names import hook_name
from stages.params.collect import Quality

LISTED = 5  # prompts named in an error


class QualityError(ValueError):
    """The activations of a model on a task are not fit for measuring; the message says which and why."""


class Checked(NamedTuple):
    usable: np.ndarray
    """Rows of the usable prompts, in order."""
    report: dict
    """For people: counts, dropped prompts with the reason, norms per aggregation and site."""


def check(
    collected: Collected, prompt_ids: Sequence[str], offsets: np.ndarray, sites: Sequence[str], layers: int,
    aggregations: Sequence[str], bounds: Quality,
) -> Checked:  # fmt: skip
    """All hooks are present and enough prompts usable, else QualityError naming the hooks or the prompts.

    ``offsets`` (n_prompts + 1,) are the row bounds of the prompts in all_tokens.
    """
    expected = [(a, hook_name(site, layer)) for a in aggregations for site in sites for layer in range(layers)]
    if missing := [f"{a}/{hook}" for a, hook in expected if (a, hook) not in collected]:
        raise QualityError(
            f"{len(missing)} of {len(expected)} hooks gave nothing, the first is {missing[0]}: check the row in stages/models/sites.py"
        )
    reasons: dict[str, str] = {}
    norms: dict[tuple[str, str], np.ndarray] = {}
    for key in expected:
        # float64: the square of a float32 can overflow where its norm does not
        norms[key] = np.sqrt(np.einsum("nd,nd->n", collected[key], collected[key], dtype=np.float64))  # (rows,)
        bad = ~((norms[key] >= bounds.norm_low) & (norms[key] <= bounds.norm_high))  # also true for NaN
        for row in np.flatnonzero(bad):
            prompt = row if key[0] != "all_tokens" else int(np.searchsorted(offsets, row, side="right")) - 1
            reasons.setdefault(prompt_ids[prompt], f"norm {norms[key][row]:.3g} at {'/'.join(key)}")
    usable = np.array([row for row, prompt in enumerate(prompt_ids) if prompt not in reasons], dtype=int)
    if len(usable) < bounds.usable * len(prompt_ids):
        listed = "; ".join(f"{prompt}: {reason}" for prompt, reason in list(reasons.items())[:LISTED])
        raise QualityError(
            f"only {len(usable)} of {len(prompt_ids)} prompts are usable, {bounds.usable:.0%} expected "
            f"(finite, norm within {bounds.norm_low:g} and {bounds.norm_high:g}): {listed}; "
            "check the weights, use collect.dtype float32, or widen collect.quality in params.yaml"
        )
    report = {
        "prompts": len(prompt_ids),
        "usable": len(usable),
        "dropped": reasons,
        "hooks": len(expected),
        "norms": {a: {site: _norms(a, site, layers, collected, norms) for site in sites} for a in aggregations},
    }
    return Checked(usable, report)


def _norms(
    aggregation: str, site: str, layers: int, collected: Collected, norms: dict[tuple[str, str], np.ndarray]
) -> dict:
    """Per layer: median norm, largest norm over it, and largest value: massive activations show here."""
    columns: dict[str, list[float | None]] = {"median": [], "largest_over_median": [], "largest_value": []}
    for layer in range(layers):
        key = (aggregation, hook_name(site, layer))
        finite = norms[key][np.isfinite(norms[key])]
        values = collected[key][np.isfinite(norms[key])]
        median = float(np.median(finite))
        columns["median"].append(median)
        columns["largest_over_median"].append(float(finite.max()) / median if median else None)
        columns["largest_value"].append(float(np.abs(values).max()))
    return columns
