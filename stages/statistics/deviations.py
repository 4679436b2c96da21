"""Deviations of statistics that share one sample, and the standard errors and intervals that they give.

The deviations of a statistic are K numbers, or K rows D (K, T) for T statistics of the same sample, with Cov(errors) ~
D'D / K on K degrees of freedom: the error of any contrast c'y of the statistics y is the rms over K of D c, so that
errors which the statistics share cancel in differences. They come from

- balanced half-samples (`hadamard_deviations`, K = B - 1): the sampled items (sequences, prompts) lie in B equal
  blocks, B a power of two, and a statistic T is computed on halves of the blocks and their complements, the halves
  being the rows of a Hadamard matrix. For T linear in the blocks the standard error is then exactly s / √B, s the sd
  (B - 1) of the blocks' values: that of all C(B, B/2) halves at once, where random halves (`half_sampling`) add
  Monte-Carlo noise.
  Source: McCarthy 1969; Wolter 2007, chapter 3.
- replicate families (`family_deviations`, K = F - 1).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

# Blocks below which the standard error itself is too rough: 7 degrees of freedom.
LEAST_BLOCKS = 8


class IntervalEstimate(NamedTuple):
    """An estimate with its standard error and Student's interval ``low``..``high``, in the units of the estimate."""

    value: float
    standard_error: float
    low: float
    high: float


def hadamard_halves(blocks: int) -> np.ndarray:
    """Return balanced halves (B - 1, B) of ``blocks`` = B: +1 where a block is in H_j, -1 where in the complement H'_j.

    The non-constant rows of Sylvester's Hadamard matrix: every row sums to 0 and any two are orthogonal.
    Raises ValueError unless B is a power of two, 8 at least.
    """
    if blocks < LEAST_BLOCKS or blocks & (blocks - 1):
        raise ValueError(f"{blocks} blocks: expected a power of two, {LEAST_BLOCKS} or more (8, 16, 32, 64, ...)")
    from scipy.linalg import hadamard

    return hadamard(blocks)[1:]


def hadamard_deviations(replicates: np.ndarray) -> np.ndarray:
    """Return (T_Hj - T_H'j) / 2, (..., B - 1), from ``replicates`` (..., 2(B - 1)): T_H1, T_H'1, T_H2, T_H'2, ...

    Their mean products are the covariances of the errors of all statistics that share the blocks: the error of a
    difference (or an average) of statistics has the difference (or average) of their deviations.
    Raises ValueError unless the last axis holds the complementary pairs of B blocks.
    """
    pairs, odd = divmod(replicates.shape[-1], 2)
    if odd or pairs + 1 < LEAST_BLOCKS or pairs & (pairs + 1):
        raise ValueError(
            f"{replicates.shape[-1]} replicates: expected 2 (B - 1) of B blocks, B a power of two, {LEAST_BLOCKS} or more"
        )
    return (replicates[..., ::2] - replicates[..., 1::2]) / 2


def family_deviations(values: np.ndarray) -> np.ndarray:
    """Return deviations D (F - 1, T) of the mean over families of ``values`` (F, T).

    D'D / (F - 1) is the covariance of that mean: orthonormal (Helmert) contrasts of the families over √F, a row for
    each degree of freedom. Statistics of the same families in the same order have paired deviations. Raises ValueError
    below 2 families.
    """
    if values.ndim != 2 or len(values) < 2:
        raise ValueError(f"expected (families, checkpoints), 2 families at least: found {values.shape}")
    from scipy.linalg import helmert

    return helmert(len(values)) @ values / np.sqrt(len(values))


def rms_standard_error(deviations: np.ndarray) -> np.ndarray:
    """Return √(mean of squares) of ``deviations`` (..., K) over the last axis, with K degrees of freedom: (...).

    Not their sd: deviations have mean 0 by design, not by estimation.
    """
    return np.sqrt((deviations**2).mean(axis=-1))


def student_interval(value: float, deviations: np.ndarray, confidence: float) -> IntervalEstimate:
    """Return ``value`` ± t se, se the `rms_standard_error` of ``deviations`` (K,), t Student's of K degrees of freedom.

    Two-sided at ``confidence``; in the units of ``value``.
    """
    from scipy.stats import t

    error = float(rms_standard_error(deviations))
    reach = float(t.ppf(0.5 + confidence / 2, len(deviations))) * error
    return IntervalEstimate(value, error, value - reach, value + reach)


def interval_sign(estimate: IntervalEstimate) -> int:
    """Return 1 or -1 where the interval lies on that side of 0, else 0."""
    return int(estimate.low > 0) - int(estimate.high < 0)


def draw_noise(
    root: np.ndarray, freedom: int, draws: int, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Draw errors e ~ N(0, root' root), (draws, T), and deviations A (draws, r, T) of ``freedom`` degrees of freedom.

    ``root`` (r, T). A'A is a Wishart draw with ``freedom`` degrees of freedom about root' root: the error of the error
    counts. Source: Bartlett 1933 (the triangular factor of a Wishart draw).
    """
    r = len(root)
    errors = generator.standard_normal((draws, r)) @ root
    bartlett = np.tril(generator.standard_normal((draws, r, r)), -1)
    diagonal = np.arange(r)
    bartlett[:, diagonal, diagonal] = np.sqrt(generator.chisquare(freedom - diagonal, (draws, r)))
    return errors, np.swapaxes(bartlett, 1, 2) @ root / np.sqrt(freedom)


def require_series(y: np.ndarray, deviations: np.ndarray, fewest: int, point: str) -> None:
    """Raise ValueError unless ``y`` (T,) and ``deviations`` (K, T) are finite and hold ``fewest`` points or more.

    ``point`` is what T counts, in the message: layer, step or checkpoint.
    """
    if y.ndim != 1 or len(y) < fewest:
        raise ValueError(f"expected a series (T,) of {fewest} {point}s or more, found {y.shape}")
    if deviations.ndim != 2 or deviations.shape[1] != len(y) or not len(deviations):
        raise ValueError(f"expected deviations (K, {len(y)}), a column a {point}: found {deviations.shape}")
    if not (np.isfinite(y).all() and np.isfinite(deviations).all()):
        raise ValueError(f"a series with values or deviations that are not finite: leave each such {point} out")
