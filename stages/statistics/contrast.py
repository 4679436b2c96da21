"""Differences between two models, averaged over layers and tasks, with the prompts as the sampled unit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from stages.statistics.families import cohen_dz, mixed_model, paired_t
from stages.statistics.half_sampling import interval, p_value


class LayerValues(NamedTuple):
    """A quantity of one model along tasks and layers, NaN where it is missing."""

    values: np.ndarray
    """(tasks, layers)"""
    deviations: np.ndarray
    """(tasks, layers, D): draws of the error of ``values``, `half_sampling.complement_deviations`"""


class Contrast(NamedTuple):
    """An average difference with its interval, and the layer where the difference is surest."""

    estimate: float
    standard_error: float
    low: float
    high: float
    p: float
    used: int
    """(task, layer) cells that enter the average; a cell missing in one model is left out of both"""
    cells: int
    layer: int
    layer_z: float
    layer_p: float
    """studentised maximum over layers: p of a difference somewhere, corrected for looking everywhere; over prompts"""
    family_sd: float = float("nan")
    """how much the difference varies between families, each with a base of its own; NaN with one family"""
    cohen_dz: float = float("nan")
    """mean / sd of the families' differences; it and the mixed model: only where families are the sampled unit"""
    mixed_estimate: float = float("nan")
    mixed_standard_error: float = float("nan")
    mixed_p: float = float("nan")
    mixed_note: str = ""


def difference(more: LayerValues, less: LayerValues) -> LayerValues:
    """Return ``more`` minus ``less``, paired: both saw the same halves."""
    return LayerValues(more.values - less.values, more.deviations - less.deviations)


def contrast(
    pairs: Sequence[tuple[LayerValues, LayerValues]], confidence: float, families_for_paradigms: int
) -> Contrast:
    """Return the average difference over the (more, less) ``pairs``, one a family, and over all cells.

    The average is taken inside each half-sample, so that its error knows how layers vary together. From
    ``families_for_paradigms`` pairs on, families are the sampled unit instead: a paired t-interval over
    their differences, which holds for further families, with d_z and a mixed model of families x tasks beside it.
    In the units of the quantity. Raises ValueError when no cell is left.
    """
    curves = [difference(*pair) for pair in pairs]
    defined = np.all(
        [np.isfinite(c.values) & np.isfinite(c.deviations).all(axis=-1) for c in curves], axis=0
    )  # (tasks, layers)
    if not defined.any():
        raise ValueError("no (task, layer) has the quantity for both models: see `missing` and `note` in the records")
    values = np.stack([c.values for c in curves])  # (families, tasks, layers)
    deviations = np.mean([c.deviations for c in curves], axis=0)  # (tasks, layers, D)
    families = values[:, defined].mean(axis=1)  # (families,)
    estimate = float(families.mean())
    over_families: dict = {"family_sd": float(families.std(ddof=1))} if len(families) > 1 else {}
    if len(families) >= families_for_paradigms:
        error, low, high, p = paired_t(families, confidence)
        over_families |= {"cohen_dz": cohen_dz(families), **_mixed(values, defined)}
    else:
        error = float(deviations[defined].mean(axis=0).std(ddof=1))
        (low, high), p = interval(estimate, error, confidence), p_value(estimate, error)
    layers = np.flatnonzero(defined.any(axis=0))
    curve = np.array([values[:, defined[:, i], i].mean() for i in layers])
    noise = np.array([deviations[defined[:, i], i].mean(axis=0) for i in layers])  # (layers, D)
    position, layer_z, layer_p = studentised_maximum(curve, noise)
    return Contrast(
        estimate=estimate,
        standard_error=error,
        low=float(low),
        high=float(high),
        p=p,
        used=int(defined.sum()),
        cells=defined.size,
        layer=int(layers[position]),
        layer_z=layer_z,
        layer_p=layer_p,
        **over_families,
    )


def _mixed(values: np.ndarray, defined: np.ndarray) -> dict:
    """Fit the mixed model to layer means of ``values`` (families, tasks, layers), of tasks with a ``defined`` cell."""
    tasks = [i for i in range(len(defined)) if defined[i].any()]
    cells = np.stack([values[:, i, defined[i]].mean(axis=1) for i in tasks], axis=1)  # (families, tasks)
    return {f"mixed_{name}": value for name, value in mixed_model(cells)._asdict().items()}


def studentised_maximum(estimate: np.ndarray, deviations: np.ndarray) -> tuple[int, float, float]:
    """Return position and size of the largest |z| of ``estimate`` (layers,), and its p against the maximum of noise.

    ``deviations`` (layers, D) are draws of the error of ``estimate``: z = estimate / sd, and the null
    distribution is that of max over layers |deviation| / sd, which keeps the correlation of layers.
    p = (1 + #{null >= max |z|}) / (D + 1). Layers without any error (a model against itself) count as z = 0
    unless they differ.
    """
    error = deviations.std(axis=-1, ddof=1)  # (layers,)
    scale = np.where(error > 0, error, 1.0)
    z = np.where(error > 0, np.abs(estimate) / scale, np.where(estimate == 0, 0.0, np.inf))
    null = (np.abs(deviations) / scale[:, None]).max(axis=0)  # (D,)
    position = int(np.argmax(z))
    return position, float(z[position]), float((1 + (null >= z[position]).sum()) / (len(null) + 1))
