"""Differences between two models, averaged over layers and tasks, with the prompts as the sampled unit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from stages.statistics.half_sampling import interval, p_value


class Curve(NamedTuple):
    """One quantity of one model along tasks and layers, NaN where it is missing."""

    values: np.ndarray
    """(tasks, layers)"""
    deviations: np.ndarray
    """(tasks, layers, B): half-sample values less their mean, times √(m / (n - m)): draws of T_n's error"""


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
    """studentised maximum over layers: the p of a difference somewhere, corrected for looking everywhere"""


def difference(more: Curve, less: Curve) -> Curve:
    """``more`` less ``less``, paired: both saw the same halves."""
    return Curve(more.values - less.values, more.deviations - less.deviations)


def contrast(pairs: Sequence[tuple[Curve, Curve]], confidence: float, families_for_paradigms: int) -> Contrast:
    """Average difference over the (more, less) ``pairs``, one a family, and over all cells.

    The average is taken inside each half-sample, so that its error knows how layers vary together. From
    ``families_for_paradigms`` pairs on, families are the sampled unit instead: a paired t-interval over
    their differences, which holds for further families. Raises ValueError when no cell is left.
    """
    curves = [difference(*pair) for pair in pairs]
    defined = np.all(
        [np.isfinite(c.values) & np.isfinite(c.deviations).all(axis=-1) for c in curves], axis=0
    )  # (tasks, layers)
    if not defined.any():
        raise ValueError("no (task, layer) has the quantity for both models: see `missing` and `note` in the records")
    values = np.stack([c.values for c in curves])  # (families, tasks, layers)
    deviations = np.mean([c.deviations for c in curves], axis=0)  # (tasks, layers, B)
    families = values[:, defined].mean(axis=1)  # (families,)
    estimate = float(families.mean())
    if len(families) >= families_for_paradigms:
        error, low, high, p = _over_families(families, confidence)
    else:
        error = float(deviations[defined].mean(axis=0).std(ddof=1))
        (low, high), p = interval(estimate, error, confidence), p_value(estimate, error)
    layers = np.flatnonzero(defined.any(axis=0))
    curve = np.array([values[:, defined[:, i], i].mean() for i in layers])
    noise = np.array([deviations[defined[:, i], i].mean(axis=0) for i in layers])  # (layers, B)
    where, z, somewhere = studentised_maximum(curve, noise)
    return Contrast(
        estimate, error, float(low), float(high), p, int(defined.sum()), defined.size, int(layers[where]), z, somewhere
    )


def _over_families(differences: np.ndarray, confidence: float) -> tuple[float, float, float, float]:
    """Standard error, interval and two-sided p of the mean of ``differences`` (families,) by Student's t."""
    from scipy.stats import t  # here: half a second that studies of fewer families need not wait

    mean, freedom = differences.mean(), len(differences) - 1
    error = differences.std(ddof=1) / np.sqrt(len(differences))
    reach = t.ppf(0.5 + confidence / 2, freedom) * error
    p = float(2 * t.sf(abs(mean) / error, freedom)) if error else float(mean == 0)
    return float(error), mean - reach, mean + reach, p


def studentised_maximum(estimate: np.ndarray, deviations: np.ndarray) -> tuple[int, float, float]:
    """Position and size of the largest |z| of ``estimate`` (layers,), and its p against the maximum of noise.

    ``deviations`` (layers, B) are draws of the error of ``estimate``: z = estimate / sd, and the null
    distribution is that of max over layers |deviation| / sd, which keeps the correlation of layers.
    p = (1 + #{null >= max |z|}) / (B + 1). Layers without any error (a model against itself) count as z = 0
    unless they differ.
    """
    error = deviations.std(axis=-1, ddof=1)  # (layers,)
    scale = np.where(error > 0, error, 1.0)
    z = np.where(error > 0, np.abs(estimate) / scale, np.where(estimate == 0, 0.0, np.inf))
    null = (np.abs(deviations) / scale[:, None]).max(axis=0)  # (B,)
    where = int(np.argmax(z))
    return where, float(z[where]), float((1 + (null >= z[where]).sum()) / (len(null) + 1))


class Welch(NamedTuple):
    """Welch's t-test with layers as if they were samples."""

    welch_t: float
    welch_p: float
    cohen_d: float


def welch_over_layers(more: np.ndarray, less: np.ndarray) -> Welch:
    """The prior study's test of ``more`` > ``less`` (layers,), for comparison only: one-sided p, d = difference / √((v1 + v2) / 2).

    Pseudo-replicated: neighbouring layers are all but the same number, so that under no effect (AR(1),
    .95) it rejects about 77 % of the time at .05. Raises ValueError below 2 layers.
    """
    from scipy.stats import ttest_ind

    if min(len(more), len(less)) < 2:
        raise ValueError(f"Welch's test needs at least 2 layers on each side, found {len(more)} and {len(less)}")
    spread = np.sqrt((more.var(ddof=1) + less.var(ddof=1)) / 2)
    if spread == 0:
        return Welch(float("nan"), float("nan"), float("nan"))
    found = ttest_ind(more, less, equal_var=False, alternative="greater")
    return Welch(float(found.statistic), float(found.pvalue), float((more.mean() - less.mean()) / spread))
