"""The catalogue of measures: what each one reads, in which variants, and what leaves it unchanged.

A new measure is a function in a file of this folder, a line in `catalogue`, and a test of its formula;
the invariances that it declares here are tested for all measures at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal, NamedTuple

import numpy as np

from stages.geometry.similarity import debiased_cka
from stages.geometry.spectrum import (
    Spectrum,
    components_for,
    condition_number,
    decay_ranks,
    effective_rank,
    factorise,
    legacy_decay,
    participation_ratio,
    rankme,
    rankme_eigen,
    spectral_decay,
    stable_rank,
)
from stages.geometry.subspace import preservation

Invariance = Literal["common_rotation", "rotation", "scale", "translation", "dimension_scale"]
"""Transformations of the model's activations (of both sides for common_rotation): an orthogonal matrix, a
positive factor, a constant vector added to all rows, a positive factor for each dimension."""
CLOUD = frozenset({"common_rotation", "rotation", "scale", "translation"})
"""Of a measure of one spectrum."""
SUBSPACE = frozenset({"common_rotation", "scale", "translation"})
"""Of a measure that compares directions, which a rotation of one side moves."""


class Variant(NamedTuple):
    """One way to compute a measure; its name never leaves the number."""

    name: str
    centred: bool
    """Without centring no measure is invariant to translation, whatever it declares."""
    function: Callable[..., np.ndarray]
    k: int = 0
    """Leading directions read, for measures of subspaces."""


class Measure(NamedTuple):
    """One entry of the catalogue."""

    name: str
    kind: Literal["spectrum", "bases", "rows"]
    """What a variant's function reads: one `Spectrum`; two bases (d, k); two paired matrices (n, d)."""
    variants: tuple[Variant, ...]
    invariances: frozenset[Invariance]
    source: str
    undefined: str = "undefined for this spectrum"
    """Reason given when the value is NaN."""


def catalogue(ks: Sequence[int], decay: tuple[float, float], share: float, legacy_k: int) -> tuple[Measure, ...]:
    """All measures, in the order of the records.

    ``ks``: directions compared by preservation; ``decay``: fitted ranks as shares of min(n, d);
    ``share``: variance that `components_for` asks for; ``legacy_k``: directions of the prior study's preservation.
    """
    short = "the fitted ranks are fewer than 3 or hold zeros"
    deficient = "rank-deficient: the smallest singular value is rounding error"
    sweep = tuple(Variant(f"{c}_k{k}", c == "centred", preservation, k) for c in ("centred", "raw") for k in ks)
    return (
        Measure("effective_rank", "spectrum", _four(effective_rank), CLOUD, "Roy & Vetterli 2007"),
        Measure("rankme", "spectrum", (Variant("raw_singular", False, rankme),), CLOUD, "Garrido et al. 2023"),
        Measure("rankme_eigen", "spectrum", (Variant("centred_eigen", True, rankme_eigen),), CLOUD, "Li et al. 2025"),
        Measure("spectral_decay", "spectrum", (*_decay("alpha", *decay), Variant("raw_legacy", False, legacy_decay)), CLOUD, "Agrawal et al. 2022", short),
        Measure("spectral_decay_r2", "spectrum", _decay("r2", *decay), CLOUD, "Agrawal et al. 2022", short),
        Measure("spectral_decay_share", "spectrum", _decay("share", *decay), CLOUD, "variance carried by the fitted ranks", short),
        Measure("participation_ratio", "spectrum", _four(participation_ratio), CLOUD, "Gao et al. 2017"),
        Measure("stable_rank", "spectrum", _two(stable_rank), CLOUD, "Rudelson & Vershynin 2007"),
        Measure("condition_number", "spectrum", _two(condition_number), CLOUD, "ratio of extreme singular values", deficient),
        Measure("components", "spectrum", _two(partial(components_for, share=share), f"_{share:g}"), CLOUD, f"directions carrying {share:g} of the variance"),
        Measure("preservation", "bases", (*sweep, Variant("raw_legacy", False, preservation, legacy_k)), SUBSPACE, "Björck & Golub 1973"),
        Measure("cka", "rows", (Variant("debiased", True, debiased_cka),), CLOUD, "Kornblith et al. 2019; Song et al. 2012"),
    )  # fmt: skip


def _two(function: Callable, suffix: str = "") -> tuple[Variant, ...]:
    return Variant(f"centred{suffix}", True, function), Variant(f"raw{suffix}", False, function)


def _four(function: Callable) -> tuple[Variant, ...]:
    return tuple(
        Variant(f"{c}_{kind}", c == "centred", partial(function, eigen=kind == "eigen"))
        for c in ("centred", "raw")
        for kind in ("singular", "eigen")
    )


def _decay(field: str, low: float, high: float) -> tuple[Variant, ...]:
    """Variants that return one field of `spectral_decay` over relative ranks; NaN where they are too few."""

    def read(spectrum: Spectrum) -> np.ndarray:
        first, last = decay_ranks(spectrum, low, high)
        if last < first + 2:
            return np.full(spectrum.s.shape[:-1], np.nan)
        return getattr(spectral_decay(spectrum, first, last), field)

    return _two(read, f"_singular_ranks_{low:g}_{high:g}")


def evaluate(measure: Measure, variant: Variant, reference: np.ndarray, model: np.ndarray) -> float:
    """The measure of ``model`` (n, d), against ``reference`` (n, d) where it compares: the plain, slow way."""
    if measure.kind == "spectrum":
        return float(variant.function(factorise(model, variant.centred)))
    if measure.kind == "bases":
        return float(variant.function(*(factorise(x, variant.centred, variant.k).basis for x in (reference, model))))
    return float(variant.function(reference, model))
