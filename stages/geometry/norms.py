"""Lengths of activations: their spread, the rows and dimensions that dwarf all others, and the common direction.

One huge dimension, or one row in a hundred on a sink position, sets a participation ratio to 1 whatever the rest does:
spectra are reported with all rows and again with the `non_massive_rows` alone.
A cloud is a matrix X (n, d), a row per prompt or token; all functions work on stacks (..., n, d), in float64, and
raise NormError on fewer than two rows and on values that are not finite.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

# A row is massive when its norm exceeds this many times the median norm.
MASSIVE_ROW = 10.0
# A dimension is massive when its largest |value| exceeds this many times the median |value| of the cloud.
MASSIVE_DIMENSION = 100.0


class NormError(ValueError):
    """A cloud has no such norms; the message says what was found and what was expected."""


class NormStatistics(NamedTuple):
    """The statistics of the Euclidean norms of the rows of X, in the units of the activations; (...) each."""

    mean: np.ndarray
    sd: np.ndarray
    """standard deviation with n in the denominator"""
    minimum: np.ndarray
    median: np.ndarray
    maximum: np.ndarray
    maximum_to_median: np.ndarray
    """ratio of the two, without unit; NaN where the median is zero"""


def norm_statistics(x: np.ndarray) -> NormStatistics:
    """Return statistics of ||x_i|| over the rows of ``x`` (..., n, d).

    Invariant to rotation and the order of rows; all but maximum_to_median scale with a factor.
    """
    norms = np.linalg.norm(_cloud(x), axis=-1)  # (..., n)
    median, maximum = np.median(norms, axis=-1), norms.max(axis=-1)
    return NormStatistics(
        norms.mean(axis=-1), norms.std(axis=-1), norms.min(axis=-1), median, maximum, _ratio(maximum, median)
    )


def non_massive_rows(x: np.ndarray, threshold: float = MASSIVE_ROW) -> np.ndarray:
    """Return whether each row of ``x`` (..., n, d) has ||x_i|| <= ``threshold`` x the median norm: (..., n) bool.

    The mask for measuring without sink positions; at least half of the rows are true whatever they hold, for
    ``threshold`` of 1 or more (else NormError). Invariant to rotation and isotropic scale, not to translation.
    """
    norms = np.linalg.norm(_cloud(x), axis=-1)  # (..., n)
    return ~is_massive(norms, massive_limit(norms, threshold)[..., None])


def massive_limit(norms: np.ndarray, threshold: float = MASSIVE_ROW) -> np.ndarray:
    """Return the norm (...) above which a row is massive: ``threshold`` x the median of ``norms`` (..., n).

    NaN is left out of the median; without any other value there is no limit. Raises NormError on thresholds below 1.
    """
    if not threshold >= 1:
        raise NormError(f"threshold {threshold}: expected 1 or more, in units of the median norm")
    norms = np.where(np.isnan(norms).all(axis=-1, keepdims=True), np.inf, norms)
    return threshold * np.nanmedian(norms, axis=-1)


def is_massive(norms: np.ndarray, limit: np.ndarray | float) -> np.ndarray:
    """Return whether each of ``norms`` is above ``limit``; what is not finite is no massive row but an error to be named."""
    return (norms > limit) & np.isfinite(norms)


class MassiveActivations(NamedTuple):
    """The rows and dimensions that dwarf the rest of a cloud, and by how much; shapes for a cloud (..., n, d)."""

    rows: np.ndarray
    """(...) number of rows whose norm exceeds `MASSIVE_ROW` x the median norm"""
    row_share: np.ndarray
    """(...) share of sum ||x_i||² in those rows; NaN for a cloud of zeros"""
    dimensions: np.ndarray
    """(...) number of dimensions whose largest |value| exceeds `MASSIVE_DIMENSION` x the median |value|"""
    dimension_share: np.ndarray
    """(...) share of sum ||x_i||² in those dimensions; NaN for a cloud of zeros"""
    largest: np.ndarray
    """(...) largest |value|"""
    median: np.ndarray
    """(...) median |value|, over all rows and dimensions"""
    largest_to_median: np.ndarray
    """(...) ratio of the two; NaN where the median is zero"""
    massive_rows: np.ndarray
    """(..., n) which rows"""
    massive_dimensions: np.ndarray
    """(..., d) which dimensions"""


def massive_activations(
    x: np.ndarray, row_threshold: float = MASSIVE_ROW, dimension_threshold: float = MASSIVE_DIMENSION
) -> MassiveActivations:
    """Find the rows and dimensions of ``x`` (..., n, d) that dwarf all others, under named thresholds.

    A row counts by its norm (`non_massive_rows`), a dimension j by max_i |x_ij| > ``dimension_threshold`` x median |x|.
    A single value can make both: the two counts overlap. Rows invariant to rotation and isotropic scale; dimensions,
    which belong to the basis, to isotropic scale only. Source: Sun et al. 2024, whose own rule for a single value is a
    magnitude above 100 and about 1000 times the median: stricter in ratio, and bound to one model's scale.
    """
    x = _cloud(x)
    magnitude, squares = np.abs(x), np.square(x)  # (..., n, d)
    median = np.median(magnitude, axis=(-2, -1))
    by_dimension = magnitude.max(axis=-2)  # (..., d)
    rows = ~non_massive_rows(x, row_threshold)  # (..., n)
    dimensions = by_dimension > dimension_threshold * median[..., None]  # (..., d)
    total, largest = squares.sum(axis=(-2, -1)), by_dimension.max(axis=-1)
    return MassiveActivations(
        rows.sum(axis=-1),
        _ratio((squares.sum(axis=-1) * rows).sum(axis=-1), total),
        dimensions.sum(axis=-1),
        _ratio((squares.sum(axis=-2) * dimensions).sum(axis=-1), total),
        largest,
        median,
        _ratio(largest, median),
        rows,
        dimensions,
    )


def mean_share(x: np.ndarray) -> np.ndarray:
    """Return ||mean_i x_i||² / mean_i ||x_i||² of ``x`` (..., n, d): (...), 0 to 1; NaN for a cloud of zeros.

    The share of the raw second moment that centring takes away. Independent rows around zero give 1/n. Invariant
    to rotation, isotropic scale and the order of rows, not to translation.
    """
    x = _cloud(x)
    return _ratio(np.square(x.mean(axis=-2)).sum(axis=-1), np.square(x).sum(axis=-1).mean(axis=-1))


def anisotropy(x: np.ndarray) -> np.ndarray:
    """Return the mean cosine over all pairs of different rows of ``x`` (..., n, d): (...), -1/(n - 1) to 1.

    (||sum_i u_i||² - n) / (n (n - 1)) with u_i = x_i / ||x_i||: all n (n - 1) pairs at the cost of one mean; the
    pairs of a row with itself, whose cosine is 1, are taken out. Independent directions give 0. NaN where a row is
    zero. Invariant to rotation, to a positive factor for each row and to the order of rows, not to translation.
    Source: Ethayarajh 2019.
    """
    x = _cloud(x)
    n = x.shape[-2]
    units = _ratio(x, np.linalg.norm(x, axis=-1, keepdims=True))  # (..., n, d)
    return (np.square(units.sum(axis=-2)).sum(axis=-1) - n) / (n * (n - 1))


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Return the ratio, NaN where ``denominator`` is zero."""
    return numerator / np.where(denominator == 0, np.nan, denominator)


def _cloud(x: np.ndarray) -> np.ndarray:
    x = np.asarray(x, np.float64)
    if x.ndim < 2 or x.shape[-2] < 2:
        raise NormError(f"a cloud needs the shape (n, d) with at least 2 rows, found {x.shape}")
    if not np.isfinite(x).all():
        raise NormError(
            f"{int((~np.isfinite(x)).any(axis=-1).sum())} rows hold values that are not finite: leave them out"
        )
    return x
