"""Similarity of two representations of the same prompts."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class CrossSums(NamedTuple):
    """Sums over prompts that determine the unbiased linear HSIC of x (n, d) and y (n, e); disjoint sets add up.

    With k = x x' and l = y y' without their diagonals, everything that HSIC needs of these n x n
    matrices is a sum over prompts, so that a subset costs O(d e) instead of O(n² d).
    """

    cross: np.ndarray
    """(..., d, e) sum of x y'"""
    x: np.ndarray
    """(..., d) sum of x"""
    y: np.ndarray
    """(..., e) sum of y"""
    xx: np.ndarray
    """(...) sum of |x|²"""
    yy: np.ndarray
    """(...) sum of |y|²"""
    xxyy: np.ndarray
    """(...) sum of |x|²|y|²"""
    x_yy: np.ndarray
    """(..., d) sum of x |y|²"""
    y_xx: np.ndarray
    """(..., e) sum of y |x|²"""
    n: int

    def __add__(self, other: CrossSums) -> CrossSums:  # type: ignore[override]
        return CrossSums(*(a + b for a, b in zip(self, other, strict=True)))


def cross_sums(x: np.ndarray, y: np.ndarray) -> CrossSums:
    """Additive sums of ``x`` (..., n, d) and ``y`` (..., n, e): subtract a common mean first, for the digits' sake."""
    a = b = np.einsum("...nd,...nd->...n", x, x)  # (..., n)
    if y is not x:
        b = np.einsum("...nd,...nd->...n", y, y)
    x_sums = _weighted_sums(x, b)
    y_sums = x_sums if y is x else _weighted_sums(y, a)
    cross = np.swapaxes(x, -1, -2) @ y
    return CrossSums(
        cross,
        x_sums[0],
        y_sums[0],
        a.sum(axis=-1),
        b.sum(axis=-1),
        (a * b).sum(axis=-1),
        x_sums[1],
        y_sums[1],
        x.shape[-2],
    )


def _weighted_sums(x: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sums (..., d) over the rows of ``x`` (..., n, d): plain, and each row times its weight (..., n)."""
    both = np.stack([np.ones_like(weights), weights], axis=-2) @ x  # (..., 2, d)
    return both[..., 0, :], both[..., 1, :]


def hsic(sums: CrossSums) -> np.ndarray:
    """Unbiased HSIC with linear kernels (Song et al. 2012, eq. 5), from additive sums.

    [tr(KL) + 1'K1 1'L1 / ((n-1)(n-2)) - 2/(n-2) 1'KL1] / (n(n-3)), K and L with zero diagonals.
    Invariant to translation of either side. Raises ValueError below 4 prompts.
    """
    n = sums.n
    if n < 4:
        raise ValueError(f"unbiased HSIC needs at least 4 prompts, found {n}")
    trace = (sums.cross**2).sum(axis=(-1, -2)) - sums.xxyy
    all_k = (sums.x**2).sum(axis=-1) - sums.xx
    all_l = (sums.y**2).sum(axis=-1) - sums.yy
    rows = (sums.x[..., None, :] @ sums.cross @ sums.y[..., :, None])[..., 0, 0]
    rows = rows - (sums.x * sums.x_yy).sum(axis=-1) - (sums.y * sums.y_xx).sum(axis=-1) + sums.xxyy
    return (trace + all_k * all_l / ((n - 1) * (n - 2)) - 2 / (n - 2) * rows) / (n * (n - 3))


def cka_from_sums(xy: CrossSums, xx: CrossSums, yy: CrossSums) -> np.ndarray:
    """HSIC(x, y) / √(HSIC(x, x) HSIC(y, y)); NaN where one side has no dispersion left after debiasing."""
    scale = hsic(xx) * hsic(yy)
    return np.where(scale > 0, hsic(xy) / np.sqrt(np.where(scale > 0, scale, 1.0)), np.nan)


def debiased_cka(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Debiased linear CKA of ``x`` (..., n, d) and ``y`` (..., n, e), rows paired: 1 for equal geometry, 0 expected for unrelated.

    Invariant to translation, rotation and isotropic scale of either side, not to scaling single
    dimensions. The plain estimator is biased towards 1 when d > n (.96 for independent noise at d = 4096,
    n = 164); this one may come out slightly below 0. Source: Kornblith et al. 2019; debiased as in
    Nguyen et al. 2021, with HSIC of Song et al. 2012.
    """
    x, y = (z - z.mean(axis=-2, keepdims=True) for z in (np.asarray(x, np.float64), np.asarray(y, np.float64)))
    return cka_from_sums(cross_sums(x, y), cross_sums(x, x), cross_sums(y, y))
