"""Intervals over prompts by half-sampling without replacement.

Prompts are the sampled unit. A statistic T is computed on all n prompts and on B random subsets of m = n/2; for
statistics that are linear at this scale sd(T_m) √(m / (n - m)) estimates the standard error of T_n (Politis, Romano &
Wolf 1999), and the difference of complementary halves does so better where they are not quite
(`half_sample_standard_error`; `metrics/calibration.json` has what its intervals cover). Not the bootstrap: its
duplicated prompts bias ranks, neighbours and similarities, and its percentile interval covers badly here.

The subsets come in balanced sets: one random partition into four quarters gives six halves (three complementary pairs),
each of them a uniformly random half. A statistic that itself splits its prompts in two, like the noise ceiling, splits
such a half into its two quarters; so four quarters and six halves serve six replicates of everything, and sums over
quarters add up to sums over halves.
"""

from __future__ import annotations

import math
from statistics import NormalDist
from zlib import crc32

import numpy as np

# The six halves of a partition, as pairs of quarters; halves 2i and 2i + 1 are complementary.
PAIRS = ((0, 1), (2, 3), (0, 2), (1, 3), (0, 3), (1, 2))
HALVES = len(PAIRS)


def partitions_for(half_samples: int) -> int:
    """Return the number of partitions that give at least ``half_samples`` half-samples."""
    return -(-half_samples // HALVES)


def quarters(n: int, partitions: int, seed: int, label: str = "") -> np.ndarray:
    """Draw random partitions of n prompts: row numbers (partitions, 4, n // 4).

    Up to three prompts of each partition are left out. They depend on the arguments only: models and layers that share
    n, ``seed`` and ``label`` (the task) share their halves, which is what makes differences between models paired.
    Raises ValueError below 8 prompts.
    """
    if n < 8:
        raise ValueError(f"half-sampling needs at least 8 prompts, found {n}")
    generator = np.random.default_rng([seed, crc32(label.encode())])
    size = n // 4
    return np.stack([generator.permutation(n)[: 4 * size].reshape(4, size) for _ in range(partitions)])


def half_sample_standard_error(replicates: np.ndarray, n: int, m: int | None = None) -> np.ndarray:
    """Return the standard error (...) of T_n from ``replicates`` (..., B), halves H, H' side by side as in `PAIRS`.

    sd((T_H - T_H') / 2) √(m / (n - m)), m = n // 4 * 2, the sd of `complement_deviations`: half-samples with their
    complements (Wolter 2007, chapter 3). In the units of T. For T linear in the prompts it is the plain sd(T_m) √(m /
    (n - m)). Interactions between the prompts of a half, and the luck with which an index splits its half, are no
    sampling error of T_n but enter the plain one three- to sevenfold; in the difference of complements most of them
    cancel. What is left errs on the wide side. Given another ``m``, the plain formula: those subsets have no
    complements.
    """
    if m is not None:
        return np.std(replicates, axis=-1, ddof=1) * np.sqrt(m / (n - m))
    return complement_deviations(replicates, n).std(axis=-1, ddof=1)


def complement_deviations(replicates: np.ndarray, n: np.ndarray | int) -> np.ndarray:
    """Return draws of the error of T_n, (T_H - T_H') / 2 √(m / (n - m)), from ``replicates`` (..., B): (..., B / 2).

    Their sd is the `half_sample_standard_error`. ``n`` is one number, or one for every row of replicates, (...).
    Averages over layers, tasks or families are draws of the error of the average. Raises ValueError when B is odd.
    """
    if replicates.shape[-1] % 2:
        raise ValueError(f"{replicates.shape[-1]} half-samples: expected complementary pairs, an even number")
    m = np.asarray(n) // 4 * 2
    return (replicates[..., ::2] - replicates[..., 1::2]) / 2 * np.sqrt(m / (n - m))[..., None]


def interval(estimate: np.ndarray, error: np.ndarray, confidence: float) -> tuple[np.ndarray, np.ndarray]:
    """Return T_n ± z se, z of the normal distribution, two-sided at ``confidence``; shapes as ``estimate``."""
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    return estimate - z * error, estimate + z * error


def p_value(estimate: float, error: float) -> float:
    """Return the two-sided p of estimate = 0 from z = estimate / error; 1 when both are zero."""
    if error == 0:
        return float(estimate == 0)
    return math.erfc(abs(estimate) / error / math.sqrt(2))
