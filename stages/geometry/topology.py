"""The shape of one cloud of activations across scales: clusters (H0) and loops (H1) of its Rips filtration.

Two points are joined when closer than r; as r grows, clusters merge and loops appear and fill. Each feature is
a bar (birth, death). All lengths are in units of the median distance between two points, so that every summary
is invariant to rotation, translation and isotropic scale (not to scaling single dimensions). All of them
depend on n: compare clouds of equal n, on the same rows (`subsample`), and beside a null such as an isotropic
Gaussian of the same n and d, since noise has loops too: 1000 Gaussian points have 279 in 2 dimensions and 2369
in 64, the longest .18 and .08. Never resample rows with replacement: copies are bars of length zero.

Needs the extra gudhi, imported where it is used.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

# Most points of a filtration: half a second at 1000, and time and memory grow with their cube.
POINTS = 1000
INSTALL = "pip install gudhi==3.13.0"


class TopologyError(ValueError):
    """A cloud has no filtration; the message names what was found, expected and the fix."""


class PersistenceBars(NamedTuple):
    """The persistence diagrams of a cloud in units of ``scale``: rows (birth, death), ascending by death."""

    h0: np.ndarray
    """(m0, 2) merging clusters; the last one, which never merges, is left out"""
    h1: np.ndarray
    """(m1, 2) loops"""
    scale: float
    """median distance between two points, in units of the activations"""
    points: int
    """number of points of the filtration"""


class BarSummary(NamedTuple):
    """The numbers of one diagram, from its bar lengths l = death - birth."""

    total: float
    """sum of l"""
    entropy: float
    """-sum p ln p, p = l / sum l: ln of how many bars share the total; 0 without bars"""
    longest: float
    """largest l; 0 without bars"""
    second: float
    """second largest l: one feature stands out when longest is several times this"""
    count: int
    """bars with l above the threshold"""


def subsample(n: int, points: int, seed: int) -> np.ndarray:
    """Draw ascending indices (min(n, points),) of rows without replacement: the same for all models on n prompts."""
    if n <= points:
        return np.arange(n)
    return np.sort(np.random.default_rng([seed, n, points]).choice(n, points, replace=False))


def persistence(x: np.ndarray, points: int = POINTS, seed: int = 0) -> PersistenceBars:
    """Return the H0 and H1 bars of the Rips filtration of ``x`` (n, d), of `subsample` rows where n > ``points``.

    H0 deaths are the edges of the minimum spanning tree. The filtration goes up to the radius from which all cliques
    share a point, beyond which nothing is left to die; coefficients modulo 11. Invariances as in the module. Raises
    ImportError without gudhi, TopologyError on another shape, fewer than 4 points, ``points`` above `POINTS`,
    non-finite values and clouds most of whose points coincide. Source: Edelsbrunner, Letscher & Zomorodian 2002;
    Ripser, Bauer 2021.
    """
    try:
        from gudhi.sklearn.rips_persistence import RipsPersistence
    except ImportError as error:
        raise ImportError(f"topology needs the package gudhi, which is not installed: {INSTALL}") from error

    distances = _distances(_checked(x, points, seed))  # (p, p)
    scale = float(np.median(distances[np.triu_indices(len(distances), 1)]))
    if not scale > 0:
        raise TopologyError(
            f"the median distance between {len(distances)} points is 0: expected distinct points; remove duplicate rows"
        )
    filtration = RipsPersistence([0, 1], input_type="full distance matrix", num_collapses=0)
    h0, h1 = filtration.fit_transform([distances / scale])[0]
    return PersistenceBars(_sorted(h0), _sorted(h1), scale, len(distances))


def summarise_bars(bars: np.ndarray, threshold: float = 0.1) -> BarSummary:
    """Return the `BarSummary` of ``bars`` (m, 2); ``threshold`` is in the same units, median distances of two points.

    Source: Atienza, González-Díaz & Rucco 2019 (entropy).
    """
    lengths = np.sort(bars[:, 1] - bars[:, 0])[::-1]
    longest, second = np.concatenate([lengths, np.zeros(2)])[:2]
    total = lengths.sum()
    p = lengths / total if total > 0 else lengths
    entropy = -(p * np.log(p)).sum() + 0.0  # + 0: no minus zero
    return BarSummary(float(total), float(entropy), float(longest), float(second), int((lengths > threshold).sum()))


def _checked(x: np.ndarray, points: int, seed: int) -> np.ndarray:
    x = np.asarray(x, np.float64)
    if x.ndim != 2:
        raise TopologyError(f"a cloud of shape {x.shape}: expected (n, d), a row per prompt")
    if not 4 <= points <= POINTS or len(x) < 4:
        raise TopologyError(f"{points} points of {len(x)} rows: expected 4 or more rows, and 4 to {POINTS} points")
    if bad := int((~np.isfinite(x)).any(axis=1).sum()):
        raise TopologyError(f"{bad} of {len(x)} rows hold NaN or infinity: expected finite values; drop these prompts")
    return x[subsample(len(x), points, seed)]


def _distances(x: np.ndarray) -> np.ndarray:
    from scipy.spatial.distance import pdist, squareform

    return squareform(pdist(x))  # of differences, not of inner products, which lose the digits of small distances


def _sorted(bars: np.ndarray) -> np.ndarray:
    """Return the finite bars, ascending by death, then by birth: the order of the library is not part of a result."""
    bars = np.asarray(bars, np.float64).reshape(-1, 2)
    bars = bars[np.isfinite(bars[:, 1])]
    return bars[np.lexsort((bars[:, 0], bars[:, 1]))]
