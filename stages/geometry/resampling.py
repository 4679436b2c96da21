"""Factorisations of many subsets of one cloud of prompts: the quarters of partitions, and pairs of quarters."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from stages.geometry.linear_algebra import gram, triangular_factor
from stages.geometry.paired import Pairs
from stages.geometry.similarity import CrossSums, cka_from_sums, cross_sums
from stages.geometry.spectrum import (
    Moments,
    Spectrum,
    factorise,
    factorise_moments,
    factorise_squares,
    moments,
    with_right_vectors,
)

# float64 values gathered at a time: 4 MiB, about a processor's cache.
CHUNK_VALUES = 2**19


class SubsetSpectra(NamedTuple):
    """The spectra of the subsets of R partitions, stacked."""

    quarters: Spectrum
    """(R, 4, ...) with bases"""
    halves: Spectrum
    """(R, 2, ...) with bases: the first two pairs"""
    pairs: Spectrum | None
    """(R, pairs, ...) of every pair, singular values only"""


def factorise_subsets(
    x: np.ndarray, quarters: np.ndarray, pairs: Pairs, centred: bool, k: int, every_pair: bool
) -> SubsetSpectra:
    """Factorise the rows ``quarters`` (R, 4, q) of ``x`` (n, d), and the halves that ``pairs`` of quarters make up.

    Singular vectors cost as much again as singular values: of the pairs only the first two get them,
    and the others are left out altogether unless ``every_pair``. While d <= q the Gram matrix of a half is
    the sum of those of its quarters; beyond, the rows themselves are factorised through their smaller one, which
    is a block of that of all rows.
    """
    if centred:
        x = x - x.mean(axis=0)
    chosen = pairs if every_pair else pairs[:2]
    if x.shape[1] <= quarters.shape[2]:
        chunks = [_from_moments(x, part, chosen, centred, k) for part in _chunks(quarters, x.shape[1])]
        spectra = [_concatenate(parts, axis=0) for parts in zip(*chunks, strict=True)]
    else:
        spectra = _from_rows(x, quarters, chosen, centred, k)
    all_pairs = _concatenate((spectra[1]._replace(basis=None), spectra[2]), axis=1) if every_pair else None
    return SubsetSpectra(spectra[0], spectra[1], all_pairs)


def _chunks(quarters: np.ndarray, d: int) -> Iterator[np.ndarray]:
    """Return ``quarters`` (R, 4, q), a few partitions at a time."""
    step = max(1, CHUNK_VALUES // (4 * quarters.shape[2] * d))
    return (quarters[start : start + step] for start in range(0, len(quarters), step))


def _from_moments(x: np.ndarray, quarters: np.ndarray, pairs: Pairs, centred: bool, k: int) -> list[Spectrum]:
    """Factorise ``quarters`` (c, 4, q), the first two pairs, and all further pairs, through additive moments."""
    quarter = moments(x[quarters])  # (c, 4, d, d)
    a, b = np.array(pairs).T
    half = Moments(quarter.gram[:, a] + quarter.gram[:, b], quarter.total[:, a] + quarter.total[:, b], 2 * quarter.n)
    first, rest = (Moments(half.gram[:, part], half.total[:, part], half.n) for part in (slice(2), slice(2, None)))
    spectra = [factorise_moments(quarter, centred, k), factorise_moments(first, centred, k)]
    return [*spectra, factorise_moments(rest, centred)] if len(pairs) > 2 else spectra


def _from_rows(x: np.ndarray, quarters: np.ndarray, pairs: Pairs, centred: bool, k: int) -> list[Spectrum]:
    """Factorise the same subsets of ``quarters`` (R, 4, q) through their rows, one at a time.

    A stack of them would not fit in memory at d = 4096. Where d is above the size of a half, all inner products are
    computed once and each subset takes its block.
    """
    d = x.shape[1]
    squares = gram(x.T) if d > 2 * quarters.shape[2] else None  # (n, n)

    def subset_spectrum(rows: np.ndarray, k: int) -> Spectrum:
        if squares is None:
            return factorise(x[rows], centred, k)
        dual = factorise_squares(squares[np.ix_(rows, rows)], d, centred, k)
        return with_right_vectors(dual, x[rows]) if k else dual

    spectra: list[list[Spectrum]] = [[], [], []]
    for part in quarters:
        halves = [np.concatenate([part[a], part[b]]) for a, b in pairs]
        spectra[0].append(_stack([subset_spectrum(rows, k) for rows in part]))
        spectra[1].append(_stack([subset_spectrum(rows, k) for rows in halves[:2]]))
        if len(pairs) > 2:
            spectra[2].append(_stack([subset_spectrum(rows, 0) for rows in halves[2:]]))
    return [_stack(parts) for parts in spectra if parts]


def _stack(spectra: Sequence[Spectrum]) -> Spectrum:
    return _concatenate(
        [s._replace(s=s.s[None], basis=None if s.basis is None else s.basis[None]) for s in spectra], axis=0
    )


def _concatenate(spectra: Sequence[Spectrum], axis: int) -> Spectrum:
    first = spectra[0]
    basis = None if first.basis is None else np.concatenate([spectrum.basis for spectrum in spectra], axis=axis)
    return first._replace(s=np.concatenate([spectrum.s for spectrum in spectra], axis=axis), basis=basis)


def cka_subsets(x: np.ndarray, y: np.ndarray, quarters: np.ndarray, pairs: Pairs) -> np.ndarray:
    """Return the debiased CKA of ``x`` and ``y`` (n, d) on each pair of ``quarters`` (R, 4, q): (R, pairs)."""
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    a, b = np.array(pairs).T
    values = []
    for part in _chunks(quarters, x.shape[1]):
        rows, paired = x[part], y[part]  # (c, 4, q, d)
        sums = (cross_sums(rows, paired), cross_sums(rows, rows), cross_sums(paired, paired))
        values.append(cka_from_sums(*(_take(s, a) + _take(s, b) for s in sums)))
    return np.concatenate(values)


def _take(sums: CrossSums, index: np.ndarray) -> CrossSums:
    """Return the quarters ``index`` of stacked sums (c, 4, ...)."""
    return CrossSums(*(value[:, index] for value in sums[:-1]), sums.n)


def joint_rows(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return ``x`` and ``y`` (n, d) in an orthonormal basis of their joint row space when that is smaller than d.

    One rotation of both: no angle, spectrum or inner product changes, and d = 4096 becomes 2 n.
    """
    if len(x) + len(y) >= x.shape[1]:
        return x, y
    upper = triangular_factor(np.concatenate([x, y]).T)  # (2 n, 2 n): coordinates of the rows
    return upper.T[: len(x)], upper.T[len(x) :]
