"""Factorisations of many subsets of one cloud of prompts: the quarters of partitions, and pairs of quarters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from stages.geometry.similarity import CrossSums, cka_from_sums, cross_sums
from stages.geometry.spectrum import Moments, Spectrum, factorise, factorise_moments, moments


class Subsets(NamedTuple):
    """Spectra of the subsets of R partitions: arrays of shape (R, 4, ...) and (R, pairs, ...)."""

    quarters: Spectrum
    halves: Spectrum


def factorise_subsets(x: np.ndarray, quarters: np.ndarray, pairs: Sequence[tuple[int, int]], centred: bool, k: int) -> Subsets:
    """Factorise the rows ``quarters`` (R, 4, q) of ``x`` (n, d), and the union of each pair of quarters.

    While d <= q the Gram matrix of a half is the sum of those of its quarters; beyond, the rows
    themselves are factorised through their smaller Gram matrix.
    """
    if centred:
        x = x - x.mean(axis=0)
    one = _from_moments if x.shape[1] <= quarters.shape[2] else _from_rows
    found = [one(x[part], pairs, centred, k) for part in quarters]
    return Subsets(*(_stack(spectra) for spectra in zip(*found)))


def _from_moments(rows: np.ndarray, pairs: Sequence[tuple[int, int]], centred: bool, k: int) -> tuple[Spectrum, Spectrum]:
    """Spectra of ``rows`` (4, q, d) and of their pairs, through additive moments."""
    quarter = moments(rows)
    a, b = np.array(pairs).T
    half = Moments(quarter.gram[a] + quarter.gram[b], quarter.total[a] + quarter.total[b], 2 * quarter.n)
    return factorise_moments(quarter, centred, k), factorise_moments(half, centred, k)


def _from_rows(rows: np.ndarray, pairs: Sequence[tuple[int, int]], centred: bool, k: int) -> tuple[Spectrum, Spectrum]:
    """The same through the rows, one subset at a time: a stack of them would not fit in memory at d = 4096."""
    half = [factorise(np.concatenate([rows[a], rows[b]]), centred, k) for a, b in pairs]
    return _stack([factorise(part, centred, k) for part in rows]), _stack(half)


def _stack(spectra: Sequence[Spectrum]) -> Spectrum:
    first = spectra[0]
    basis = None if first.basis is None else np.stack([spectrum.basis for spectrum in spectra])
    return first._replace(s=np.stack([spectrum.s for spectrum in spectra]), basis=basis)


def cka_halves(x: np.ndarray, y: np.ndarray, quarters: np.ndarray, pairs: Sequence[tuple[int, int]]) -> np.ndarray:
    """Debiased CKA of ``x`` and ``y`` (n, d) on each pair of ``quarters`` (R, 4, q): (R, pairs)."""
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    a, b = np.array(pairs).T
    values = []
    for part in quarters:
        rows, paired = x[part], y[part]  # (4, q, d)
        sums = (cross_sums(rows, paired), cross_sums(rows, rows), cross_sums(paired, paired))
        values.append(cka_from_sums(*(_take(s, a) + _take(s, b) for s in sums)))
    return np.stack(values)


def _take(sums: CrossSums, index: np.ndarray) -> CrossSums:
    """Members ``index`` of a stack of sums."""
    return CrossSums(*(value[index] for value in sums[:-1]), sums.n)


def joint_rows(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """``x`` and ``y`` (n, d) in an orthonormal basis of their joint row space when that is smaller than d.

    One rotation of both: no angle, spectrum or inner product changes, and d = 4096 becomes 2 n.
    """
    if len(x) + len(y) >= x.shape[1]:
        return x, y
    _, upper = np.linalg.qr(np.concatenate([x, y]).T)  # (2 n, 2 n): coordinates of the rows
    return upper.T[: len(x)], upper.T[len(x) :]
