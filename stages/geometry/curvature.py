"""Curvature of the path that a prompt takes through the layers, and of the cloud that prompts form at one layer.

Both are lengths to the power -1: invariant to rotation and translation, and divided by c when all points are
multiplied by c. Residual streams grow with depth, so that the path's curvature falls with depth in any network: the
controls here say how much of a profile is owed to that. A response to noise is no curvature: see
`stages.paradigms.sensitivity`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class CurvatureError(ValueError):
    """Points have no curvature as asked for; the message names what was expected."""


class WalkCurvature(NamedTuple):
    """The curvature of random walks with the steps of a path: mean and standard deviation, (..., layers - 2) each."""

    mean: np.ndarray
    sd: np.ndarray


class LocalCurvature(NamedTuple):
    """The curvature of a cloud at each of its points, see `local_pca_curvature`."""

    value: float
    """sqrt of the median of ``squared``; 0 where that is negative"""
    squared: np.ndarray
    """(n,) debiased square at each point; negative where noise alone would give more; NaN where undefined"""
    plain: np.ndarray
    """(n,) the square without the correction"""
    radius: np.ndarray
    """(n,) root mean square distance of the neighbours from their mean: value · radius has no unit"""


def menger_curvature(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    """Return 4 Area(a, b, c) / (|a - b| |b - c| |c - a|) of points (..., d): 1 / radius of their circle; (...).

    With unit steps p, q along b - a and c - b it is |p - q| |p + q| / |c - a|, which keeps its digits where the points
    are nearly on a line (Heron's and Gram's formulas do not). 0 on a line, 1/r on a circle of radius r; NaN where two
    of the points coincide. Invariant to rotation, translation and order of the points; scale -> 1 / scale.
    Source: Menger 1930; Léger 1999. Raises CurvatureError on values that are not finite.
    """
    a, b, c = (_finite(x) for x in (a, b, c))
    with np.errstate(divide="ignore", invalid="ignore"):
        p, q = (step / _length(step)[..., None] for step in (b - a, c - b))  # (..., d)
        chord = _length(c - a)  # (...)
        return np.where(chord == 0, np.nan, _length(p - q) * _length(p + q) / chord)


def path_curvature(path: np.ndarray) -> np.ndarray:
    """Return `menger_curvature` of each three consecutive layers of ``path`` (..., layers, d): (..., layers - 2).

    One profile per prompt for (prompts, layers, d). Never a result by itself: set it against `random_walk_curvature`
    (or report the ratio, which no scale changes), and agreement between profiles of two models against that of prompts
    paired at random. Invariances of `menger_curvature`. Raises CurvatureError on fewer than 3 layers.
    """
    path = _require_path(path)
    return menger_curvature(path[..., :-2, :], path[..., 1:-1, :], path[..., 2:, :])


def random_walk_curvature(path: np.ndarray, draws: int = 200, seed: int = 0) -> WalkCurvature:
    """Return the curvature of walks with the step lengths of ``path`` (..., layers, d) in random directions.

    The architectural control: what the lengths of the steps alone make of the profile. Steps x and y at an angle θ
    give 2 sin θ / |x + y|; the cosine of two random directions is g / sqrt(g² + χ²), g ~ N(0, 1), χ² with d - 1 degrees
    of freedom, so no walk is built. In high d θ is a right angle, and the control 2 / sqrt(|x|² + |y|²).
    Invariances of `path_curvature`. NaN where a step has no length. Raises CurvatureError as that, and below 2 draws.
    """
    path = _require_path(path)
    if draws < 2:
        raise CurvatureError(f"draws = {draws}: expected at least 2, for a spread over walks")
    steps = _length(np.diff(path, axis=-2))[..., None]  # (..., layers - 1, 1)
    x, y = steps[..., :-1, :], steps[..., 1:, :]
    generator = np.random.default_rng(seed)
    g = generator.standard_normal(draws)
    rest = generator.chisquare(path.shape[-1] - 1, draws) if path.shape[-1] > 1 else np.zeros(draws)
    cosine, sine = g / np.sqrt(g**2 + rest), np.sqrt(rest / (g**2 + rest))  # (draws,)
    chord = np.sqrt((x - y) ** 2 + 2 * x * y * (1 + cosine))  # (..., layers - 2, draws)
    with np.errstate(divide="ignore", invalid="ignore"):
        values = np.where((x > 0) & (y > 0), 2 * sine / chord, np.nan)
    return WalkCurvature(values.mean(axis=-1), values.std(axis=-1, ddof=1))


def local_pca_curvature(x: np.ndarray, dimension: int, neighbours: int) -> LocalCurvature:
    """Return the rms curvature of a ``dimension``-dimensional surface near which the points ``x`` (n, d) lie.

    At each point, in the ``neighbours`` nearest ones (itself among them): the leading m = ``dimension`` principal
    directions span the tangent space; the coordinates ν normal to it are regressed on the tangent ones t,
    ν = c + B t + t'II t / 2, and the curvature is |II|_F / sqrt(m), II the second fundamental form: 1/r on a sphere of
    radius r in any dimension, 0 on a plane. Noise of variance s² around the surface inflates the square by
    s² (Q'Q)^-1 of the design Q, which is subtracted with s² estimated from the residuals.
    The surface's dimension is the caller's claim (see a measure of dimension first). Without noise the bias is of the
    order of (radius · curvature)²; noise also blurs the tangent coordinates, and curvature is then underestimated (a
    fifth less at noise of a sixth of the radius): compare only clouds of like noise, and with `flat_cloud`.
    Invariant to rotation and translation; scale -> 1 / scale. Exact in all d through the n x n Gram matrix.
    NaN where neighbours coincide in too few points for the fit. Source: Sritharan et al. 2021 (their estimate of II);
    local PCA: Kambhatla & Leen 1997. Raises CurvatureError on too few neighbours or points, and on values that are not
    finite.
    """
    x = _finite(x)
    columns = 1 + dimension + dimension * (dimension + 1) // 2
    if x.ndim != 2 or not 1 <= dimension < x.shape[1] or not columns < neighbours <= len(x):
        raise CurvatureError(
            f"dimension {dimension} and {neighbours} neighbours of points {x.shape}: expected (n, d) points, dimension < d, "
            f"and more neighbours than the {columns} coefficients of the fit, at most n"
        )
    gram, floor = _local_gram(x - x.mean(axis=0), neighbours)  # (n, neighbours, neighbours)
    values, vectors = np.linalg.eigh(gram)  # ascending
    left = vectors[..., : -dimension - 1 : -1]  # (n, neighbours, m)
    spread = values[..., : -dimension - 1 : -1].clip(0)  # (n, m)
    normal = gram - (left * spread[:, None]) @ np.swapaxes(left, 1, 2)  # Gram matrix of the normal coordinates
    design, pairs, counts = _quadratic_design(left * np.sqrt(neighbours))  # tangent coordinates of variance 1
    solve = np.linalg.pinv(design)  # (n, columns, neighbours)
    coefficients = np.einsum("nci,nij,ncj->nc", solve, normal, solve, optimize=True)  # squared lengths
    left_over = np.trace(normal, axis1=1, axis2=2) - np.einsum("nij,nij->n", design @ solve, normal)
    noise = left_over.clip(0)[:, None] / (neighbours - columns) * (solve**2).sum(axis=2)  # (n, columns)
    sound = (spread[:, -1] > floor) & (np.linalg.matrix_rank(design, rtol=1e-8) == columns)
    variance = np.where(sound[:, None], spread / neighbours, np.nan)  # (n, m) of the true tangent coordinates
    weights = counts / (variance[:, pairs[0]] * variance[:, pairs[1]]) / dimension  # (n, m (m + 1) / 2)
    plain = (coefficients[:, 1 + dimension :] * weights).sum(axis=1)
    squared = plain - (noise[:, 1 + dimension :] * weights).sum(axis=1)
    radius = np.sqrt(np.trace(gram, axis1=1, axis2=2).clip(0) / neighbours)  # (n,)
    middle = np.nanmedian(squared) if np.isfinite(squared).any() else np.nan
    return LocalCurvature(float(np.sqrt(np.maximum(middle, 0))), squared, plain, radius)


def flat_cloud(x: np.ndarray, seed: int = 0) -> np.ndarray:
    """Draw normal points (n, d) with the mean and covariance of ``x`` (n, d): a cloud without curvature, as a control.

    What `local_pca_curvature` finds in it is owed to the spectrum, n and the neighbourhoods. Moves along with ``x``
    under translation and scale, and in distribution under rotation.
    """
    x = _finite(x)
    mean = x.mean(axis=0)
    mix = np.random.default_rng(seed).standard_normal((len(x), len(x)))  # rows of normal weights of the points
    return mean + mix @ (x - mean) / np.sqrt(len(x) - 1)


def _local_gram(x: np.ndarray, neighbours: int) -> tuple[np.ndarray, float]:
    """Return centred Gram matrices (n, neighbours, neighbours) of each point's neighbours, and their rounding error."""
    gram = x @ x.T  # (n, n)
    squares = np.diag(gram)
    distances = squares[:, None] + squares - 2 * gram  # squared
    np.fill_diagonal(distances, -np.inf)  # a point is its own nearest neighbour, also among duplicates
    nearest = np.argpartition(distances, neighbours - 1, axis=1)[:, :neighbours]  # (n, neighbours)
    local = gram[nearest[:, :, None], nearest[:, None, :]]
    rows = local.mean(axis=2, keepdims=True)  # (n, neighbours, 1)
    centred = local - rows - np.swapaxes(rows, 1, 2) + rows.mean(axis=1, keepdims=True)
    return centred, np.finfo(float).eps * len(x) * squares.max()


def _quadratic_design(t: np.ndarray) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray], np.ndarray]:
    """Return columns 1, t_a, t_a²/2, t_a t_b of ``t`` (n, neighbours, m); pairs (a, b); their counts in |II|_F²."""
    a, b = np.triu_indices(t.shape[-1])
    products = t[..., a] * t[..., b] * np.where(a == b, 0.5, 1.0)
    return np.concatenate([np.ones_like(t[..., :1]), t, products], axis=-1), (a, b), np.where(a == b, 1.0, 2.0)


def _require_path(path: np.ndarray) -> np.ndarray:
    path = _finite(path)
    if path.ndim < 2 or path.shape[-2] < 3:
        raise CurvatureError(f"path of shape {path.shape}: expected (..., layers, d) with 3 layers or more")
    return path


def _length(x: np.ndarray) -> np.ndarray:
    return np.linalg.norm(x, axis=-1)


def _finite(x: np.ndarray) -> np.ndarray:
    x = np.asarray(x, np.float64)
    if not np.isfinite(x).all():
        raise CurvatureError(f"{np.count_nonzero(~np.isfinite(x))} of {x.size} values are not finite: leave those out")
    return x
