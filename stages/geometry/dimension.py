"""Intrinsic dimension of one cloud of activations: how many numbers locate a point inside it.

A cloud (n, d), a row per prompt, is searched once (`neighbours`); every estimate reads that search. All of
them are invariant to rotation, isotropic scale and translation, and none to scaling single dimensions.

Rows that coincide make any neighbour estimate zero or infinite, so they are removed first, by one rule: a row
no further than `SAME` times the cloud's radius (the median distance to the mean) from an earlier one is the
same point. How many went is part of the result. For the same reason never resample rows with replacement.

Every estimate is biased down, the more so the larger the dimension and the smaller n, because n points do not
reach the small scales on which a cloud is flat. Isotropic Gaussian of true dimension D in 128 dimensions, one
draw each; k = 20 neighbours for MLE, k = 50 for local PCA, ranks 2 to 64 for GRIDE:

    n = 1319    D =    2      5     10     20     50    100
    TwoNN            2.1    5.2    9.5   16.7   31.6   46.8
    MLE              2.0    4.9    9.0   15.0   27.1   40.4
    GRIDE, 2         2.1    5.1    9.5   16.9   31.8   47.5
    GRIDE, 64        2.0    4.7    8.0   12.7   22.3   33.0
    local PCA        2.0    5.0   10.0   19.9   35.9   47.3
    n = 500
    TwoNN            2.2    5.1    8.9   14.8   27.7   48.4
    MLE              2.1    4.9    8.5   13.5   24.3   37.2
    local PCA        2.0    5.0   10.0   19.8   35.9   47.3

Above ten, read them as an order between clouds of equal n, not as counts.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from stages.geometry.spectrum import factorise

# Distance between rows that are the same point, as a share of the cloud's radius: a few float32 roundings, far below
# what separates two prompts; bfloat16 rounds by more.
SAME = 1e-6
NEWTON_STEPS = 50
# Numbers that local PCA holds at a time (128 MiB).
GATHERED = 2**24

TIED = "the distances to the neighbours tie, as between the corners of a simplex or grid: expected ratios above 1; such a cloud has no dimension"


class DimensionError(ValueError):
    """A cloud has no neighbours to read, or too few; the message names what was found, expected and the fix."""


class Neighbours(NamedTuple):
    """The distinct points of a cloud, each with its k nearest others."""

    points: np.ndarray
    """(m, d) distinct rows in their first order, centred, float64"""
    distances: np.ndarray
    """(m, k) ascending, to other points: all above zero"""
    indices: np.ndarray
    """(m, k) indices of the points at these distances"""
    rows: np.ndarray
    """(m,) rows of the cloud that the points are"""
    duplicates: int
    """rows removed because they coincide with an earlier one: n = m + duplicates"""


class ScaleCurve(NamedTuple):
    """The dimension of a cloud over scales: entry i reads the neighbours of rank ``rank[i]`` / 2 and ``rank[i]``."""

    rank: np.ndarray
    """(s,) 2, 4, 8, …: the farther neighbour"""
    dimension: np.ndarray
    """(s,)"""
    error: np.ndarray
    """(s,) standard error within the model of the likelihood; an interval over prompts comes from half-samples"""
    radius: np.ndarray
    """(s,) mean distance to the farther neighbour, in units of the activations"""


def neighbours(x: np.ndarray, k: int) -> Neighbours:
    """Find the ``k`` nearest other points of every distinct row of ``x`` (n, d); Euclidean, exact, ties in any order.

    Raises DimensionError on another shape, d < 2, non-finite values, and k or fewer distinct rows (which a
    constant cloud has).
    """
    from sklearn.neighbors import NearestNeighbors

    x = np.asarray(x, np.float64)
    rows = _distinct(_checked(x, k))
    points = x[rows]
    if len(points) <= k:
        raise DimensionError(
            f"{len(points)} distinct points of {len(x)} rows have no {k} neighbours each: expected at least {k + 1}; pass k <= {len(points) - 1}, or more prompts"
        )
    # centred: a search through |x|² - 2 x'y + |y|² loses the digits that a common mean takes
    points = points - points.mean(axis=0)
    distances, indices = NearestNeighbors(n_neighbors=k).fit(points).kneighbors()
    return Neighbours(points, distances, indices, rows, len(x) - len(points))


def _checked(x: np.ndarray, k: int) -> np.ndarray:
    if x.ndim != 2 or x.shape[1] < 2:
        raise DimensionError(f"a cloud of shape {x.shape}: expected (n, d) with d of 2 or more, a row per prompt")
    if k < 2:
        raise DimensionError(f"k = {k} neighbours: expected 2 or more, since every estimate compares two distances")
    if bad := int((~np.isfinite(x)).any(axis=1).sum()):
        raise DimensionError(f"{bad} of {len(x)} rows hold NaN or infinity: expected finite values; drop these prompts")
    return x


def _distinct(x: np.ndarray) -> np.ndarray:
    """Return the rows of ``x`` further than `SAME` times the radius from every earlier row so chosen, ascending."""
    from scipy.spatial.distance import cdist
    from sklearn.neighbors import NearestNeighbors

    _, first = np.unique(x, axis=0, return_index=True)  # exact copies first: the search cannot resolve them
    first = np.sort(first)
    points = x[first]
    if len(points) < 2:
        return first
    centred = points - points.mean(axis=0)
    same = SAME * np.median(np.linalg.norm(centred, axis=1))
    nearest = NearestNeighbors(n_neighbors=1).fit(centred).kneighbors()[0][:, 0]
    suspects = np.flatnonzero(nearest <= 2 * same)  # twice: the search is less exact than the rule
    close = cdist(centred[suspects], centred[suspects]) <= same
    distinct = np.ones(len(points), bool)
    for i, row in enumerate(suspects):
        distinct[row] = not (close[i, :i] & distinct[suspects[:i]]).any()
    return first[distinct]


def twonn(cloud: Neighbours, discard: float = 0.1) -> float:
    """Return the slope through the origin of -ln(1 - F(μ)) on ln μ, μ = r₂ / r₁, F its empirical distribution.

    r₁ and r₂ are a point's distances to its first and second neighbour: the finest scale there is, and the
    most exposed to noise. The ``discard`` share of largest ratios is left out. For the bias see the module.
    Invariances as there. Raises DimensionError where all distances tie. Source: Facco et al. 2017.
    """
    from skdim.id import TwoNN

    return _positive(TwoNN(discard_fraction=discard, dist=True).fit(cloud.distances[:, :2]).dimension_)


def twonn_from_distances(distances: np.ndarray, discard: float = 0.1) -> float:
    """Return `twonn` from the distances (m, 2 or more) to the nearest neighbours, ascending and above zero."""
    ratio = np.sort(distances[:, 1] / distances[:, 0])[: int(len(distances) * (1 - discard))]
    log, level = np.log(ratio), -np.log1p(-np.arange(1, len(ratio) + 1) / len(distances))
    with np.errstate(invalid="ignore", divide="ignore"):  # ties: _positive refuses them
        return _positive(log @ level / (log @ log))


def mle(cloud: Neighbours, k: int = 20) -> float:
    """Return [mean over points and j < k of ln(r_k / r_j)]⁻¹, the maximum likelihood over the ``k`` nearest neighbours.

    Points are combined by the mean of their inverse estimates (MacKay & Ghahramani 2005): the mean of the
    estimates themselves is biased up. For the bias see the module. Invariances as there. Raises
    DimensionError where ``k`` exceeds the search or all distances tie. Source: Levina & Bickel 2005.
    """
    from skdim.id import MLE

    _require(cloud, k)
    searched = (cloud.distances[:, :k], cloud.indices[:, :k])
    with np.errstate(divide="ignore"):  # a point whose distances all tie counts as an infinite dimension
        return _positive(MLE().fit(cloud.points, precomputed_knn_arrays=searched, n_neighbors=k).dimension_)


def gride(cloud: Neighbours, last: int = 64) -> ScaleCurve:
    """Return the dimension over the scales r₁ to r₂, r₂ to r₄, … up to the neighbour of rank ``last``, a power of 2.

    At each scale the maximum of the likelihood of μ = r₂ₖ / rₖ, whose density is D (μ^D - 1)^(k - 1) / (B(k, k) μ^((2k
    - 1) D + 1)). A curve that falls from rank 2 on shows noise below, or curvature and edges above, the scale of the
    structure; a plateau is the best evidence for a dimension. Ties, with a warning, and ratios above q50 + 20 (q95 -
    q50) are dropped, the latter as in the reference implementation. For the bias see the module. Invariances as there.
    Raises DimensionError when ``last`` is no power of 2 or the points are too few. Source: Denti et al. 2022.
    """
    from skdim.id import GRIDE

    if last < 2 or last & (last - 1):
        raise DimensionError(f"last = {last}: expected a power of 2, from 2 on")
    if last >= len(cloud.points):
        raise DimensionError(
            f"a neighbour of rank {last} among {len(cloud.points)} distinct points: pass last < {len(cloud.points)}, or more prompts"
        )
    try:
        fit = GRIDE(multiscale=True, range_max=last).fit(cloud.points)
    except (ValueError, IndexError):  # no ratio above one is left at some scale
        raise DimensionError(TIED) from None
    return ScaleCurve(2 * fit.scales_, fit.dimension_scales_, fit.error_scales_, fit.radius_scales_)


def mle_from_distances(distances: np.ndarray) -> float:
    """Return `mle` from the distances (m, k) to the k nearest neighbours, ascending and above zero."""
    return _positive(1 / np.log(distances[:, -1:] / distances[:, :-1]).mean())


def gride_from_distances(nearer: np.ndarray, farther: np.ndarray, rank: int) -> float:
    """Return one point of `gride`, from the distances (m,) to the neighbours of rank ``rank`` / 2 and ``rank``.

    The score of its likelihood, (m - 1) / D + (k - 1) sum ln μ / (1 - μ^-D) - (2 k - 1) sum ln μ with k = rank / 2,
    falls in D: Newton's method from its root at k = 1. Raises DimensionError where all distances tie.
    """
    k, ratio = rank // 2, farther / nearer
    q95, q50 = np.quantile(ratio[ratio > 1], [0.95, 0.5]) if (ratio > 1).any() else (1.0, 1.0)
    log = np.log(ratio[(ratio > 1) & (ratio < q50 + 20 * (q95 - q50))])
    if len(log) < 2:
        raise DimensionError(TIED)
    dimension = np.sqrt(k) * (len(log) - 1) / log.sum()
    for _ in range(NEWTON_STEPS):
        grown = -np.expm1(-dimension * log)  # 1 - μ^-D
        score = (len(log) - 1) / dimension + (k - 1) * (log / grown).sum() - (2 * k - 1) * log.sum()
        slope = -(len(log) - 1) / dimension**2 - (k - 1) * (log**2 * (1 - grown) / grown**2).sum()
        previous, dimension = dimension, max(dimension - score / slope, dimension / 2)
        if abs(dimension - previous) <= 1e-10 * dimension:
            break
    return _positive(dimension)


def local_pca(cloud: Neighbours, k: int = 50, share: float = 0.05, points: int | None = None) -> float:
    """Return the mean over points of the number of eigenvalues above ``share`` of the largest, in ``k`` neighbours.

    Read at the first ``points`` of the cloud, or at all. The covariance is that of the neighbours alone, centred on
    their mean. At most k - 1, which bounds the estimate from above: k of twice the dimension is the least that can show
    it (D = 50 reads 35.9 at k = 50, 47.8 at k = 100; a curved sphere of 5 dimensions reads 5.8 at k = 100, n = 1319).
    Invariances as in the module. Raises DimensionError where ``k`` exceeds the search. Source: Fukunaga & Olsen 1971.
    """
    _require(cloud, k)
    step = max(1, GATHERED // (k * cloud.points.shape[1]))
    counts = []
    indices = cloud.indices[:points, :k]
    for start in range(0, len(indices), step):
        patches = cloud.points[indices[start : start + step]]  # (step, k, d)
        values = factorise(patches, centred=True).eigenvalues  # (step, r)
        counts.append((values > share * values[:, :1]).sum(axis=1))
    return float(np.concatenate(counts).mean())


def _require(cloud: Neighbours, k: int) -> None:
    if not 2 <= k <= cloud.distances.shape[1]:
        raise DimensionError(
            f"k = {k} of {cloud.distances.shape[1]} neighbours that were searched: expected 2 to {cloud.distances.shape[1]}; search more"
        )


def _positive(value: float) -> float:
    """Return ``value``; raise DimensionError where it is what an estimate gives if every ratio of distances is one."""
    if not (np.isfinite(value) and value > 0):
        raise DimensionError(TIED)
    return float(value)
