"""Many models against one reference on one site: preservation, effective rank and CKA of each.

The numbers are those of the records (`stages/paradigms/site_records.py`), without intervals: what depends on the reference alone
is computed once, so that a further model costs its own factorisations only.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from stages.geometry.resampling import joint_rows
from stages.geometry.similarity import debiased_cka
from stages.geometry.spectrum import effective_rank, factorise
from stages.geometry.subspace import preservation, preservation_sweep
from stages.statistics.ceiling import adjusted_index, noise_ceiling

CONSTANT = 1e-10
"""Variance over mean square; rounding of float32 leaves 1e-14."""


class Reference(NamedTuple):
    """One layer of the reference, and what every model is compared by."""

    rows: np.ndarray
    """(n, d), a row per prompt"""
    sides: np.ndarray
    """(R, 2, m) rows of the two halves of each partition"""
    basis: np.ndarray
    """(d, k) leading directions on all prompts, centred"""
    halves: np.ndarray
    """(R, 2, d, k) the same on the halves"""
    within: np.ndarray
    """(R,) preservation between its own halves"""
    chance: float


class Scores(NamedTuple):
    """Centred scores of one layer of one model; NaN where a side has no variance over the prompts."""

    preservation: float
    """on the same prompts"""
    index: float
    """adjusted: 1 as like the reference as sampling noise allows, 0 chance"""
    effective_rank: float
    cka: float


def references_of(cloud: np.ndarray, quarters: np.ndarray, k: int, chance: float) -> list[Reference]:
    """`reference_of` every layer of ``cloud`` (layers, n, d)."""
    return [reference_of(rows, quarters, k, chance) for rows in cloud]


def reference_of(rows: np.ndarray, quarters: np.ndarray, k: int, chance: float) -> Reference:
    """Factorise ``rows`` (n, d) of the reference and the halves that ``quarters`` (R, 4, q) make up, once."""
    sides = quarters.reshape(len(quarters), 2, -1)  # the first pair of complementary halves, as in the records
    halves = factorise(rows[sides], True, k).basis
    return Reference(rows, sides, factorise(rows, True, k).basis, halves, _score(halves[:, 0], halves[:, 1]), chance)


def compare(reference: Reference, rows: np.ndarray) -> Scores:
    """Score ``rows`` (n, d) of a model against the reference, paired by prompt."""
    if _constant(reference.rows) or _constant(rows):
        return Scores(*[float("nan")] * len(Scores._fields))
    k = reference.basis.shape[-1]
    whole = factorise(rows, True, k)
    halves = factorise(rows[reference.sides], True, k).basis  # (R, 2, d, k)
    cross = (_score(reference.halves[:, 0], halves[:, 1]) + _score(reference.halves[:, 1], halves[:, 0])) / 2  # (R,)
    ceiling = noise_ceiling(reference.within, _score(halves[:, 0], halves[:, 1]))  # (R,)
    return Scores(
        preservation=float(preservation(reference.basis, whole.basis)),
        index=float(adjusted_index(cross.mean(), ceiling.mean(), reference.chance)),
        effective_rank=float(effective_rank(whole)),
        cka=float(debiased_cka(*joint_rows(reference.rows.astype(np.float64), rows.astype(np.float64)))),
    )


def _score(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """`preservation` between bases (R, d, k): (R,)."""
    return preservation_sweep(a, b, [a.shape[-1]])[0]


def _constant(x: np.ndarray) -> bool:
    """No variance over prompts (n, d), as where every prompt ends in the same token."""
    return bool(x.var(axis=0).sum() <= CONSTANT * np.square(x).sum(axis=1).mean())
