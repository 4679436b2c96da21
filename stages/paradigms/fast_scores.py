"""Preservation, its index, effective rank and CKA of many models against one reference: a second, fast implementation.

Its twin is `stages/paradigms/variant_records.py` (`_BasisScores` and the measures of geometry/registry.py), which
computes the same numbers with intervals; tests/paradigms/test_fast_scores.py holds the two equal. This one factorises
what depends on the reference alone once, so that a further model costs its own factorisations only: `perturb` scores
dozens of models at a time.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from stages.geometry.resampling import joint_rows
from stages.geometry.similarity import debiased_cka
from stages.geometry.spectrum import effective_rank, factorise
from stages.geometry.subspace import preservation, preservation_sweep
from stages.paradigms.constancy import is_constant
from stages.statistics.ceiling import adjusted_index, noise_ceiling


class ReferenceLayer(NamedTuple):
    """One layer of the reference, factorised for the comparison with every model."""

    rows: np.ndarray
    """(n, d), a row per prompt"""
    sides: np.ndarray
    """(R, 2, m) rows of the two halves of each partition"""
    basis: np.ndarray
    """(d, k) leading directions on all prompts, centred"""
    halves: np.ndarray
    """(R, 2, d, k) leading directions on the two halves"""
    within_reference: np.ndarray
    """(R,) preservation between the two halves of the reference"""
    chance: float


class Scores(NamedTuple):
    """Centred scores of one layer of one model; NaN where a side has no variance over the prompts."""

    preservation: float
    """score on the same prompts"""
    index: float
    """adjusted index: 1 as like the reference as sampling noise allows, 0 chance"""
    effective_rank: float
    cka: float


def reference_layers(x: np.ndarray, quarters: np.ndarray, k: int, chance: float) -> list[ReferenceLayer]:
    """Return `reference_layer` of every layer of the reference's activations ``x`` (layers, n, d)."""
    return [reference_layer(rows, quarters, k, chance) for rows in x]


def reference_layer(rows: np.ndarray, quarters: np.ndarray, k: int, chance: float) -> ReferenceLayer:
    """Factorise ``rows`` (n, d) of the reference, and the halves that ``quarters`` (R, 4, q) make up, into ``k`` directions.

    ``chance``: preservation of random subspaces (`stages/geometry/subspace.py`).
    """
    sides = quarters.reshape(len(quarters), 2, -1)  # the first pair of complementary halves, as in the records
    halves = factorise(rows[sides], True, k).basis
    within_reference = _score(halves[:, 0], halves[:, 1])
    return ReferenceLayer(rows, sides, factorise(rows, True, k).basis, halves, within_reference, chance)


def compare(reference: ReferenceLayer, rows: np.ndarray) -> Scores:
    """Score ``rows`` (n, d) of a model against the reference, paired by prompt."""
    if is_constant(reference.rows) or is_constant(rows):
        return Scores(*[float("nan")] * len(Scores._fields))
    k = reference.basis.shape[-1]
    whole = factorise(rows, True, k)
    halves = factorise(rows[reference.sides], True, k).basis  # (R, 2, d, k)
    cross = (_score(reference.halves[:, 0], halves[:, 1]) + _score(reference.halves[:, 1], halves[:, 0])) / 2  # (R,)
    ceiling = noise_ceiling(reference.within_reference, _score(halves[:, 0], halves[:, 1]))  # (R,)
    return Scores(
        preservation=float(preservation(reference.basis, whole.basis)),
        index=float(adjusted_index(cross.mean(), ceiling.mean(), reference.chance)),
        effective_rank=float(effective_rank(whole)),
        cka=float(debiased_cka(*joint_rows(reference.rows.astype(np.float64), rows.astype(np.float64)))),
    )


def _score(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return `preservation` between bases (R, d, k): (R,)."""
    return preservation_sweep(a, b, [a.shape[-1]])[0]
