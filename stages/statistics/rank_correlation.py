"""Spearman's rank correlation with an interval over items."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from stages.statistics.half_sampling import PAIRS, half_sample_standard_error, interval, quarters


class RankCorrelation(NamedTuple):
    """The rank correlation ρ of every vector of a stack with its interval, (...) each; NaN for a constant vector."""

    rho: np.ndarray
    standard_error: np.ndarray
    low: np.ndarray
    high: np.ndarray


def spearman(values: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Return Spearman's ρ (...) of ``values`` (..., n) with ``reference`` (n,) or (..., n).

    Pearson's correlation of the ranks, ties sharing their mean: -1 to 1, invariant to increasing transformations of
    either. NaN where a vector is constant. Source: Spearman 1904.
    """
    a, b = _centred_ranks(values), _centred_ranks(reference)  # (..., n)
    scale = np.sqrt((a**2).sum(axis=-1) * (b**2).sum(axis=-1))
    return np.where(scale > 0, (a * b).sum(axis=-1) / np.where(scale > 0, scale, 1.0), np.nan)


def rank_correlation(
    values: np.ndarray, reference: np.ndarray, partitions: int, seed: int, confidence: float
) -> RankCorrelation:
    """Return `spearman` with its interval at ``confidence`` by complementary half-samples of the n items.

    Every half is ranked anew; all vectors of the stack share their halves, 3 pairs for each of ``partitions``
    (`half_sampling.quarters`). NaN where a vector is constant, be it on one half only. Takes ``values`` (..., n) and
    ``reference`` (n,), finite. Raises ValueError on other shapes, values that are not finite, or fewer than 8 items.
    """
    values, reference = np.asarray(values, np.float64), np.asarray(reference, np.float64)
    if reference.ndim != 1 or values.shape[-1:] != reference.shape:
        raise ValueError(f"expected (..., n) against (n,), the same items: found {values.shape}, {reference.shape}")
    if not (np.isfinite(values).all() and np.isfinite(reference).all()):
        raise ValueError("values that are not finite have no rank: leave the item out on both sides")
    n = len(reference)
    rho, replicates = spearman(values, reference), []
    for part in quarters(n, partitions, seed, "rank correlation"):  # one at a time: all halves of many items are large
        halves = part[np.array(PAIRS)].reshape(len(PAIRS), -1)  # (6, m)
        replicates.append(spearman(values[..., halves], reference[halves]))  # (..., 6)
    error = half_sample_standard_error(np.concatenate(replicates, axis=-1), n)
    return RankCorrelation(rho, error, *interval(rho, error, confidence))


def _centred_ranks(values: np.ndarray) -> np.ndarray:
    """Return the ranks along the last axis less their mean; ties share a rank."""
    from scipy.stats import rankdata  # here: half a second that other statistics need not wait

    return rankdata(values, axis=-1) - (values.shape[-1] + 1) / 2
