"""A permutation test for means of per-prompt scores, which the calibration benchmark compares the stages' tests with."""

from __future__ import annotations

from itertools import product

import numpy as np

# Up to so many prompts all 2^n sign patterns are enumerated: 4096.
EXACT = 12
# Patterns that are held at a time.
CHUNK = 1000


def sign_flip(more: np.ndarray, less: np.ndarray, draws: int = 9999, seed: int = 0) -> float:
    """Return the two-sided p of no mean difference between the per-prompt scores ``more`` and ``less`` (n,), rows paired by prompt.

    If the two models are exchangeable on every prompt, each difference d_i is as likely as -d_i: T = |sum ±d_i| is
    compared over all 2^n patterns up to n = EXACT, p = #{T >= observed} / 2^n, and beyond over ``draws`` random ones,
    p = (1 + #{T >= observed}) / (draws + 1). Source: Fisher 1935; Phipson & Smyth 2010.

    It takes scores, not a statistic, because swapping the rows (prompts) of two models is a null for means only. A
    statistic of all rows at once, such as a subspace, a spectrum or a CKA, is computed from the singular vectors of
    the mixed rows: a mixture of two models is no third model of their kind but a cloud with both geometries, further
    from either than they are from each other, so that the swapped values lie off the observed one under the null as
    under the alternative (tried: 0 of 30 rejected with an effect present). Those have half-sampling (`half_sampling`).
    Raises ValueError unless both are one score a prompt, equally many and finite.
    """
    more, less = (np.asarray(scores, np.float64) for scores in (more, less))
    if more.ndim != 1 or more.shape != less.shape or not len(more):
        raise ValueError(
            f"expected one score a prompt from each model, (n,) and (n,): found {more.shape}, {less.shape}"
        )
    if not (np.isfinite(more).all() and np.isfinite(less).all()):
        raise ValueError("scores that are not finite: leave out the prompt on both sides")
    difference = more - less  # (n,)
    least = abs(difference.sum()) - 1e-9 * np.abs(difference).sum()  # sums in another order differ by rounding
    if len(difference) <= EXACT:
        patterns = np.array(list(product((-1.0, 1.0), repeat=len(difference))))  # (2^n, n)
        return float((np.abs(patterns @ difference) >= least).mean())
    generator = np.random.default_rng(seed)
    exceeding = 0
    for start in range(0, draws, CHUNK):
        signs = generator.integers(0, 2, (min(CHUNK, draws - start), len(difference)), np.int8)  # 0 or 1
        exceeding += int((np.abs(2 * (signs @ difference) - difference.sum()) >= least).sum())
    return (1 + exceeding) / (draws + 1)
