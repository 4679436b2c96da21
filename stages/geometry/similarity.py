"""Measures of the similarity of two representations of the same prompts."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from stages.geometry.pairwise import neighbour_lists, shared_neighbours


class CrossSums(NamedTuple):
    """The sums over prompts that determine the unbiased linear HSIC of x (n, d) and y (n, e); disjoint sets add up.

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

    def __add__(self, addend: CrossSums) -> CrossSums:  # type: ignore[override]
        return CrossSums(*(a + b for a, b in zip(self, addend, strict=True)))


def cross_sums(x: np.ndarray, y: np.ndarray) -> CrossSums:
    """Return additive sums of ``x`` (..., n, d) and ``y`` (..., n, e): subtract a mean first, for the digits' sake."""
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
    """Return sums (..., d) over the rows of ``x`` (..., n, d): plain, and each row times its weight (..., n)."""
    sums = np.stack([np.ones_like(weights), weights], axis=-2) @ x  # (..., 2, d)
    return sums[..., 0, :], sums[..., 1, :]


def hsic(sums: CrossSums) -> np.ndarray:
    """Return the unbiased HSIC (...) with linear kernels, from additive sums.

    [tr(KL) + 1'K1 1'L1 / ((n-1)(n-2)) - 2/(n-2) 1'KL1] / (n(n-3)), K and L with zero diagonals.
    Invariant to translation of either side. Raises ValueError below 4 prompts. Source: Song et al. 2012, eq. 5.
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
    """Return HSIC(x, y) / √(HSIC(x, x) HSIC(y, y)); NaN where a side has no dispersion left after debiasing."""
    scale = hsic(xx) * hsic(yy)
    return np.where(scale > 0, hsic(xy) / np.sqrt(np.where(scale > 0, scale, 1.0)), np.nan)


def debiased_cka(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the debiased linear CKA of ``x`` (..., n, d) and ``y`` (..., n, e), rows paired.

    1 for equal geometry, 0 expected for unrelated clouds. Invariant to translation, rotation and isotropic scale of
    either side, not to scaling single dimensions. The plain estimator is biased towards 1 when d > n (.96 for
    independent noise at d = 4096, n = 164); this one may come out slightly below 0. Source: Kornblith et al. 2019;
    debiased as in Nguyen et al. 2021, with HSIC of Song et al. 2012.
    """
    x, y = (z - z.mean(axis=-2, keepdims=True) for z in (np.asarray(x, np.float64), np.asarray(y, np.float64)))
    return cka_from_sums(cross_sums(x, y), cross_sums(x, x), cross_sums(y, y))


def rbf_cka(squared_x: np.ndarray, squared_y: np.ndarray) -> float:
    """Return the debiased CKA with Gaussian kernels of two clouds, from their `squared_distances` (n, n) each.

    Sees similarity of neighbourhoods that no linear map keeps. Invariant to translation, rotation and isotropic scale
    of either side. O(n²) memory. Source: Kornblith et al. 2019; unbiased HSIC of Song et al. 2012. Raises ValueError
    below 4 prompts, and where half of the prompts coincide.
    """
    return kernel_cka(gaussian_kernel(squared_x), gaussian_kernel(squared_y))


def gaussian_kernel(squared: np.ndarray, scale: float = 1.0) -> np.ndarray:
    """Return exp(-|a - b|² / (2 (scale m)²)), m the median distance, from ``squared`` distances (n, n): (n, n).

    The diagonal is zero, as the unbiased HSIC takes it. Raises ValueError where half of the prompts coincide.
    """
    median = np.median(squared[np.triu_indices(len(squared), 1)])
    if median == 0:
        raise ValueError(
            "the median distance is 0: at least half of the prompts coincide, a Gaussian kernel has no width"
        )
    kernel = np.exp(-squared / (2 * scale**2 * median))
    np.fill_diagonal(kernel, 0.0)
    return kernel


def kernel_cka(a: np.ndarray, b: np.ndarray) -> float:
    """Return the debiased CKA of two kernel matrices (n, n) with zero diagonals.

    NaN where a side has no dispersion left after debiasing. Raises ValueError below 4 prompts.
    """
    scale = _hsic_of_kernels(a, a) * _hsic_of_kernels(b, b)
    return float(_hsic_of_kernels(a, b) / np.sqrt(scale)) if scale > 0 else float("nan")


def _hsic_of_kernels(a: np.ndarray, b: np.ndarray) -> float:
    """Return the unbiased HSIC (Song et al. 2012, eq. 5) from kernel matrices (n, n) with zero diagonals."""
    n = len(a)
    if n < 4:
        raise ValueError(f"unbiased HSIC needs at least 4 prompts, found {n}")
    rows_a, rows_b = a.sum(axis=0), b.sum(axis=0)  # (n,)
    total = rows_a.sum() * rows_b.sum()
    return float((np.vdot(a, b) + total / ((n - 1) * (n - 2)) - 2 / (n - 2) * (rows_a @ rows_b)) / (n * (n - 3)))


def squared_distances(x: np.ndarray) -> np.ndarray:
    """Return squared Euclidean distances (n, n) between the rows of ``x`` (n, d), never negative."""
    x = np.asarray(x, np.float64)
    x = x - x.mean(axis=0)  # for the digits' sake
    squares = np.einsum("nd,nd->n", x, x)
    distances = squares[:, None] + squares - 2 * x @ x.T
    np.fill_diagonal(distances, 0.0)
    return distances.clip(0)


def procrustes_distance(x: np.ndarray, y: np.ndarray) -> float:
    """Return min over rotations Q of ‖X - YQ‖², both centred and scaled to unit norm: 2 (1 - ‖X'Y‖_*), 0 to 2.

    ``x`` (n, d), ``y`` (n, e), the narrower padded with zeros in thought. Invariant to translation, rotation and
    isotropic scale of either side. Raises ValueError on a cloud without extent. Source: Schönemann 1966; Williams et
    al. 2021.
    """
    return float(procrustes_from_alignment(nuclear_alignment(x, y)))


def angular_shape_distance(x: np.ndarray, y: np.ndarray) -> float:
    """Return arccos ‖X'Y‖_* of the matrices of `procrustes_distance`, radians, 0 to π/2.

    A metric (triangle inequality); invariances and errors as there. Source: Williams et al. 2021.
    """
    return float(angle_from_alignment(nuclear_alignment(x, y)))


def procrustes_from_alignment(alignment: np.ndarray) -> np.ndarray:
    """Return `procrustes_distance` from ‖X'Y‖_* (...); a rounding below 0 is 0."""
    return 2 * np.maximum(0.0, 1 - np.asarray(alignment))


def angle_from_alignment(alignment: np.ndarray) -> np.ndarray:
    """Return `angular_shape_distance` from ‖X'Y‖_* (...)."""
    return np.arccos(np.clip(alignment, -1.0, 1.0))


def nuclear_alignment(x: np.ndarray, y: np.ndarray) -> float:
    """Return ‖X'Y‖_*, the sum of the singular values of X'Y, of ``x`` (n, d) and ``y`` (n, e): 0 to 1.

    Both are centred and scaled to unit Frobenius norm. Raises ValueError on a cloud without extent.
    """
    x, y = (z - z.mean(axis=0) for z in (np.asarray(x, np.float64), np.asarray(y, np.float64)))
    norms = [np.linalg.norm(z) for z in (x, y)]
    if min(norms) == 0:
        raise ValueError("a cloud without extent has no shape: every row is the same")
    x, y = x / norms[0], y / norms[1]
    if min(x.shape[1], y.shape[1]) > len(x):  # X = U S V': X'Y has the singular values of (U S)'(U S of Y)
        x, y = (_row_space_coordinates(z) for z in (x, y))
    return float(np.linalg.svd(x.T @ y, compute_uv=False).sum())


def _row_space_coordinates(x: np.ndarray) -> np.ndarray:
    """Return ``x`` (n, d), d > n, in an orthonormal basis of its row space: (n, n), up to a rotation of its columns."""
    values, vectors = np.linalg.eigh(x @ x.T)
    return vectors * np.sqrt(values.clip(0))


def rsa(squared_x: np.ndarray, squared_y: np.ndarray) -> float:
    """Return Spearman's correlation of the distances between all pairs of prompts, from two `squared_distances` (n, n).

    Representational similarity analysis. Invariant to translation, rotation and isotropic scale of either side; -1 to
    1, 0 expected for unrelated clouds. Source: Kriegeskorte et al. 2008.
    """
    a, b = _distance_ranks(squared_x), _distance_ranks(squared_y)
    return float(np.vdot(a, b) / np.sqrt(np.vdot(a, a) * np.vdot(b, b)))


def _distance_ranks(squared: np.ndarray) -> np.ndarray:
    """Return ranks of the distances of all pairs less their mean, (n, n), with a zero diagonal; ties share a rank."""
    from scipy.stats import rankdata  # not above: scipy.stats takes half a second to import

    pairs = np.triu_indices(len(squared), 1)
    ranks = np.zeros_like(squared)
    ranks[pairs] = rankdata(squared[pairs])
    ranks[pairs] -= (len(pairs[0]) + 1) / 2
    return ranks + ranks.T


def mutual_neighbours(squared_x: np.ndarray, squared_y: np.ndarray, k: int) -> float:
    """Return the mean share of a prompt's ``k`` nearest neighbours that two clouds have in common; 0 to 1.

    From the `squared_distances` (n, n) of each; expected k / (n - 1) for unrelated clouds, and 1 whatever they are
    where k is n - 1 or more. Invariant to translation, rotation and isotropic scale of either side. Source: Huh et al.
    2024.
    """
    a, b = (neighbour_lists(squared, k).indices for squared in (squared_x, squared_y))
    return shared_neighbours(a, b, len(a))


def svcca(x: np.ndarray, y: np.ndarray, share: float = 0.99) -> float:
    """Return the mean canonical correlation between the leading directions with ``share`` of the variance of each side.

    ``x`` (n, d), ``y`` (n, e), centred; at most n / 5 directions of either side, because with more the correlations
    are high by chance: with p and q of n prompts about √(max(p, q) / n). Mean over the smaller number. Invariant to
    translation, rotation and isotropic scale of either side. Source: Raghu et al. 2017.
    """
    scores = [_leading_scores(z, share) for z in (x, y)]  # (n, p), orthonormal columns
    return float(np.linalg.svd(scores[0].T @ scores[1], compute_uv=False).clip(0, 1).mean())


def _leading_scores(x: np.ndarray, share: float) -> np.ndarray:
    """Return left singular vectors (n, p) of the centred ``x`` (n, d) with ``share`` of its variance, at most n / 5."""
    x = np.asarray(x, np.float64) - np.mean(x, axis=0, dtype=np.float64)
    wide = x.shape[1] > len(x)
    values, vectors = np.linalg.eigh(x @ x.T if wide else x.T @ x)  # of the smaller Gram matrix
    values, vectors = values[::-1].clip(0), vectors[:, ::-1]
    count = 1 + int((np.cumsum(values) < share * values.sum() - 1e-12).sum())
    p = max(1, min(count, len(x) // 5))
    return vectors[:, :p] if wide else x @ vectors[:, :p] / np.sqrt(values[:p])


def linear_predictivity(x: np.ndarray, y: np.ndarray, folds: int = 5, ridge: float = 1e-2) -> float:
    """Return the share of variance of ``y`` (n, e) that ridge regression on ``x`` (n, d) explains on held-out prompts.

    Prompts i, i + folds, … form a fold; the penalty is ``ridge`` times the mean eigenvalue of X'X. R² = 1 - Σ|y - ŷ|² /
    Σ|y - ȳ_train|², at most 1, negative where the fit is worse than the mean. Not symmetric. Invariant to translation,
    rotation and isotropic scale of either side. Source: Schrimpf et al. 2018. Raises ValueError below 2 prompts a fold.
    """
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if len(x) < 2 * folds:
        raise ValueError(f"{folds} folds of {len(x)} prompts: expected at least {2 * folds} prompts")
    left = total = 0.0
    for fold in range(folds):
        test = np.arange(len(x)) % folds == fold
        mean_x, mean_y = x[~test].mean(axis=0), y[~test].mean(axis=0)
        predicted = (x[test] - mean_x) @ _ridge_weights(x[~test] - mean_x, y[~test] - mean_y, ridge)
        left += np.square(y[test] - mean_y - predicted).sum()
        total += np.square(y[test] - mean_y).sum()
    return float(1 - left / total) if total else float("nan")


def _ridge_weights(x: np.ndarray, y: np.ndarray, ridge: float) -> np.ndarray:
    """Return weights (d, e) of the ridge regression of ``y`` (n, e) on ``x`` (n, d), by the smaller Gram matrix."""
    n, d = x.shape
    penalty = ridge * np.square(x).sum() / min(n, d)
    if d <= n:
        return np.linalg.solve(x.T @ x + penalty * np.eye(d), x.T @ y)
    return x.T @ np.linalg.solve(x @ x.T + penalty * np.eye(n), y)
