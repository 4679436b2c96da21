"""Measures of paired rows on the halves of many partitions, through sums over quarters.

While d is at most the size of a quarter, everything that alignment, canonical correlations and ridge regressions
need of a half is the sum of its quarters' moments; beyond, the plain functions of `similarity` on the rows themselves
are as fast, because they go through the smaller Gram matrix.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from stages.geometry.similarity import linear_predictivity, nuclear_alignment, svcca

# Penalty of ridge regressions, as a share of the mean eigenvalue.
RIDGE = 1e-2
# Halves, as pairs of quarters.
Pairs = Sequence[tuple[int, int]]


class PairedMoments(NamedTuple):
    """The sums over paired rows of x (n, d) and y (n, e); those of disjoint sets of rows add up."""

    x: np.ndarray
    """(..., d) sum of x"""
    y: np.ndarray
    """(..., e) sum of y"""
    xx: np.ndarray
    """(..., d, d) sum of x x'"""
    xy: np.ndarray
    """(..., d, e) sum of x y'"""
    yy: np.ndarray
    """(..., e, e) sum of y y'"""
    n: int

    def take(self, index: object) -> PairedMoments:
        """Return the sums at ``index`` of the leading axes."""
        return PairedMoments(*(value[index] for value in self[:-1]), self.n)

    def __add__(self, addend: PairedMoments) -> PairedMoments:  # type: ignore[override]
        return PairedMoments(*(a + b for a, b in zip(self, addend, strict=True)))


def paired_moments(x: np.ndarray, y: np.ndarray) -> PairedMoments:
    """Return sums of ``x`` (..., n, d) and ``y`` (..., n, e): subtract a common mean first, for the digits' sake."""
    xt, yt = np.swapaxes(x, -1, -2), np.swapaxes(y, -1, -2)
    return PairedMoments(x.sum(axis=-2), y.sum(axis=-2), xt @ x, xt @ y, yt @ y, x.shape[-2])


def alignment_subsets(x: np.ndarray, y: np.ndarray, quarters: np.ndarray, pairs: Pairs) -> np.ndarray:
    """Return `similarity.nuclear_alignment` on each pair of ``quarters`` (R, 4, q): (R, pairs)."""

    def alignment(half: PairedMoments) -> float:
        xx, xy, yy = _centred(half)
        return float(np.linalg.svd(xy, compute_uv=False).sum() / np.sqrt(np.trace(xx) * np.trace(yy)))

    return _on_halves(x, y, quarters, pairs, alignment, nuclear_alignment)


def svcca_subsets(x: np.ndarray, y: np.ndarray, quarters: np.ndarray, pairs: Pairs, share: float = 0.99) -> np.ndarray:
    """Return `similarity.svcca` on each pair of ``quarters`` (R, 4, q): (R, pairs)."""

    def mean_correlation(half: PairedMoments) -> float:
        xx, xy, yy = _centred(half)
        a, b = (_whitening(gram, share, half.n // 5) for gram in (xx, yy))  # (d, p), (e, q)
        return float(np.linalg.svd(a.T @ xy @ b, compute_uv=False).clip(0, 1).mean())

    return _on_halves(x, y, quarters, pairs, mean_correlation, lambda a, b: svcca(a, b, share))


def predictivity_subsets(x: np.ndarray, y: np.ndarray, quarters: np.ndarray, pairs: Pairs) -> np.ndarray:
    """Return `similarity.linear_predictivity` on each pair of ``quarters`` (R, 4, q), the two as folds: (R, pairs)."""
    if not _additive(x, y, quarters):
        return _on_rows(x, y, quarters, pairs, lambda a, b: linear_predictivity(a, b, folds=2, ridge=RIDGE))
    sums = _quarter_moments(x, y, quarters)
    return np.array(
        [[_two_folds(sums.take((r, a)), sums.take((r, b))) for a, b in pairs] for r in range(len(quarters))]
    )


def _two_folds(first: PairedMoments, second: PairedMoments) -> float:
    left = total = 0.0
    for train, test in ((first, second), (second, first)):
        xx, xy, _ = _centred(train)
        weights = np.linalg.solve(xx + RIDGE * np.trace(xx) / len(xx) * np.eye(len(xx)), xy)  # (d, e)
        mean_x, mean_y = train.x / train.n, train.y / train.n
        # sums over the test rows, less the means of the training rows
        xx = test.xx - np.outer(test.x, mean_x) - np.outer(mean_x, test.x) + test.n * np.outer(mean_x, mean_x)
        xy = test.xy - np.outer(test.x, mean_y) - np.outer(mean_x, test.y) + test.n * np.outer(mean_x, mean_y)
        spread = np.trace(test.yy) - 2 * mean_y @ test.y + test.n * mean_y @ mean_y
        left += spread - 2 * np.vdot(weights, xy) + np.vdot(weights, xx @ weights)
        total += spread
    return float(1 - left / total) if total else float("nan")


def _centred(sums: PairedMoments) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return X'X, X'Y and Y'Y of the centred rows."""
    x, y, n = sums.x, sums.y, sums.n
    return sums.xx - np.outer(x, x) / n, sums.xy - np.outer(x, y) / n, sums.yy - np.outer(y, y) / n


def _whitening(gram: np.ndarray, share: float, most: int) -> np.ndarray:
    """Return the map (d, p) from rows to their p <= ``most`` left singular vectors with ``share`` of the variance."""
    values, vectors = np.linalg.eigh(gram)
    values, vectors = values[::-1].clip(0), vectors[:, ::-1]
    count = 1 + int((np.cumsum(values) < share * values.sum() - 1e-12).sum())
    p = max(1, min(count, most))
    return vectors[:, :p] / np.sqrt(values[:p])


def _additive(x: np.ndarray, y: np.ndarray, quarters: np.ndarray) -> bool:
    """Tell whether moments of quarters are cheaper than their rows."""
    return max(x.shape[1], y.shape[1]) <= quarters.shape[2]


def _quarter_moments(x: np.ndarray, y: np.ndarray, quarters: np.ndarray) -> PairedMoments:
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    parts = [paired_moments(x[part], y[part]) for part in quarters]
    return PairedMoments(*(np.stack(values) for values in zip(*(part[:-1] for part in parts), strict=True)), parts[0].n)


def _on_halves(
    x: np.ndarray,
    y: np.ndarray,
    quarters: np.ndarray,
    pairs: Pairs,
    from_moments: Callable[[PairedMoments], float],
    from_rows: Callable[[np.ndarray, np.ndarray], float],
) -> np.ndarray:
    """Return a measure on each half, (R, pairs): by its moments where those add up cheaply, else by its rows."""
    if not _additive(x, y, quarters):
        return _on_rows(x, y, quarters, pairs, from_rows)
    sums = _quarter_moments(x, y, quarters)
    values = [from_moments(half) for half in _halves(sums, pairs)]
    return np.array(values).reshape(len(quarters), len(pairs))


def _halves(sums: PairedMoments, pairs: Pairs) -> Iterator[PairedMoments]:
    for r in range(len(sums.x)):
        for a, b in pairs:
            yield sums.take((r, a)) + sums.take((r, b))


def _on_rows(x: np.ndarray, y: np.ndarray, quarters: np.ndarray, pairs: Pairs, function: Callable) -> np.ndarray:
    halves = [[np.concatenate([part[a], part[b]]) for a, b in pairs] for part in quarters]
    return np.array([[function(x[half], y[half]) for half in row] for row in halves])
