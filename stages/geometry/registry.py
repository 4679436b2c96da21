"""The catalogue of measures: what each one reads, in which variants, and what leaves it unchanged.

A new measure is a function in a file of this folder, a line in `catalogue`, and a test of its formula;
the invariances that it declares here are tested for all measures at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import Literal, NamedTuple

import numpy as np

from stages.geometry.norms import anisotropy, mean_share, norm_statistics
from stages.geometry.similarity import (
    angular_shape_distance,
    debiased_cka,
    linear_predictivity,
    mutual_neighbours,
    procrustes_distance,
    rbf_cka,
    rsa,
    svcca,
)
from stages.geometry.spectrum import (
    Spectrum,
    band_entropy,
    components_for,
    condition_number,
    decay_ranks,
    effective_rank,
    factorise,
    legacy_decay,
    numerical_rank,
    participation_ratio,
    rankme,
    rankme_eigen,
    spectral_decay,
    stable_rank,
)
from stages.geometry.subspace import (
    captured_variance,
    chance,
    grassmann_chance,
    grassmann_distance,
    preservation,
    preservation_sweep,
    projection_overlap,
    projection_overlap_sweep,
)

Invariance = Literal["common_rotation", "rotation", "scale", "translation", "dimension_scale"]
"""Transformations of the model's activations (of both sides for common_rotation): an orthogonal matrix, a
positive factor, a constant vector added to all rows, a positive factor for each dimension."""
CLOUD = frozenset({"common_rotation", "rotation", "scale", "translation"})
"""Of a measure of one spectrum."""
RAW = frozenset({"common_rotation", "rotation", "scale"})
"""Of a measure that is about the mean itself."""
SIDES = ("of_reference", "of_model")
"""Whose variance `captured_variance` speaks of; the subspace is the other's."""
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
    kind: Literal["spectrum", "cloud", "bases", "captured", "rows"]
    """What a variant's function reads: one `Spectrum`; one matrix (n, d); two bases (d, k); one matrix, its basis and
    the other's; two paired matrices (n, d)."""
    variants: tuple[Variant, ...]
    invariances: frozenset[Invariance]
    source: str
    undefined: str = "undefined for this spectrum"
    """Reason given when the value is NaN."""
    chance: Callable[[int, int, int, int, int], float] | None = None
    """Expected value without structure from (n, d, k, draws, seed); spectra have their own (`chance.isotropic_spectrum`)."""
    sweep: Callable[..., np.ndarray] | None = None
    """Of measures of bases that have an index: all k at once."""


def catalogue(
    ks: Sequence[int], decay: Sequence[tuple[float, float]], share: float, legacy_k: int, bands: Sequence[float]
) -> tuple[Measure, ...]:
    """All measures, in the order of the records.

    ``ks``: directions compared by preservation; ``decay``: ranges of fitted ranks as shares of min(n, d);
    ``share``: variance that `components_for` asks for; ``legacy_k``: directions of the prior study's preservation;
    ``bands``: bounds of the bands of ranks, as shares of the rank.
    """
    short = "the fitted ranks are fewer than 3 or hold zeros"
    deficient = "rank-deficient: the smallest singular value is rounding error"
    centrings = ("centred", "raw")
    swept = {
        function: tuple(Variant(f"{c}_k{k}", c == "centred", function, k) for c in centrings for k in ks)
        for function in (preservation, projection_overlap, grassmann_distance)
    }
    captured = tuple(
        Variant(f"{c}_{side}_k{k}", c == "centred", captured_variance, k)
        for side in SIDES
        for c in centrings
        for k in ks
    )
    return (
        Measure("effective_rank", "spectrum", _four(effective_rank), CLOUD, "Roy & Vetterli 2007"),
        Measure("rankme", "spectrum", (Variant("raw_singular", False, rankme),), CLOUD, "Garrido et al. 2023"),
        Measure("rankme_eigen", "spectrum", (Variant("centred_eigen", True, rankme_eigen),), CLOUD, "Li et al. 2025"),
        Measure("spectral_decay", "spectrum", (*_decay("alpha", decay), Variant("raw_legacy", False, legacy_decay)), CLOUD, "Agrawal et al. 2022; Stringer et al. 2019", short),
        Measure("spectral_decay_r2", "spectrum", _decay("r2", decay), CLOUD, "Agrawal et al. 2022; Stringer et al. 2019", short),
        Measure("spectral_decay_share", "spectrum", _decay("share", decay), CLOUD, "variance carried by the fitted ranks", short),
        Measure("band_entropy", "spectrum", tuple(v for low, high in pairwise(bands) for v in _two(partial(band_entropy, low=low, high=high), f"_{low:g}_{high:g}")), CLOUD, "evenness inside a band of ranks", "the band has fewer than 2 ranks or no variance"),
        Measure("participation_ratio", "spectrum", _four(participation_ratio), CLOUD, "Gao et al. 2017"),
        Measure("stable_rank", "spectrum", _two(stable_rank), CLOUD, "Rudelson & Vershynin 2007"),
        Measure("numerical_rank", "spectrum", (Variant("centred", True, numerical_rank),), CLOUD | {"dimension_scale"}, "singular values above the rounding of float32"),
        Measure("condition_number", "spectrum", _two(condition_number), CLOUD, "ratio of extreme singular values", deficient),
        Measure("components", "spectrum", _two(partial(components_for, share=share), f"_{share:g}"), CLOUD, f"directions carrying {share:g} of the variance"),
        Measure("mean_share", "cloud", (Variant("raw", False, mean_share),), RAW, "share of the raw second moment that is the mean", "every row is zero", lambda n, d, k, draws, seed: 1 / n),
        Measure("anisotropy", "cloud", (Variant("raw", False, anisotropy),), RAW, "Ethayarajh 2019", "a row is zero", lambda n, d, k, draws, seed: 0.0),
        Measure("largest_norm", "cloud", (Variant("raw_over_median", False, _largest_over_median),), RAW, "massive activations: Sun et al. 2024", "the median norm is zero"),
        Measure("preservation", "bases", (*swept[preservation], Variant("raw_legacy", False, preservation, legacy_k)), SUBSPACE, "Björck & Golub 1973", chance=lambda n, d, k, draws, seed: float(chance(d, k, draws, seed).mean()), sweep=preservation_sweep),
        Measure("projection_overlap", "bases", swept[projection_overlap], SUBSPACE, "mean squared cosine", chance=lambda n, d, k, draws, seed: k / d, sweep=projection_overlap_sweep),
        Measure("grassmann_distance", "bases", swept[grassmann_distance], SUBSPACE, "Edelman, Arias & Smith 1998", chance=lambda n, d, k, draws, seed: grassmann_chance(d, k, draws, seed)),
        Measure("captured_variance", "captured", captured, SUBSPACE, "variance-weighted overlap", chance=lambda n, d, k, draws, seed: k / d),
        Measure("cka", "rows", (Variant("debiased", True, debiased_cka),), CLOUD, "Kornblith et al. 2019; Song et al. 2012"),
        Measure("rbf_cka", "rows", (Variant("debiased", True, rbf_cka),), CLOUD, "Kornblith et al. 2019", chance=lambda n, d, k, draws, seed: 0.0),
        Measure("rsa", "rows", (Variant("spearman", True, rsa),), CLOUD, "Kriegeskorte et al. 2008", chance=lambda n, d, k, draws, seed: 0.0),
        Measure("mutual_neighbours", "rows", (Variant("k10", True, mutual_neighbours),), CLOUD, "Huh et al. 2024", chance=lambda n, d, k, draws, seed: 10 / (n - 1)),
        Measure("svcca", "rows", (Variant("share_0.99", True, svcca),), CLOUD, "Raghu et al. 2017"),
        Measure("linear_predictivity", "rows", (Variant("from_reference", True, linear_predictivity), Variant("from_model", True, _backwards)), CLOUD, "Schrimpf et al. 2018"),
        Measure("procrustes_distance", "rows", (Variant("centred", True, procrustes_distance),), CLOUD, "Williams et al. 2021"),
        Measure("angular_shape_distance", "rows", (Variant("centred", True, angular_shape_distance),), CLOUD, "Williams et al. 2021"),
    )  # fmt: skip


def _backwards(reference: np.ndarray, model: np.ndarray) -> float:
    return linear_predictivity(model, reference)


def _largest_over_median(x: np.ndarray) -> np.ndarray:
    return norm_statistics(x).maximum_to_median


def _two(function: Callable, suffix: str = "") -> tuple[Variant, ...]:
    return Variant(f"centred{suffix}", True, function), Variant(f"raw{suffix}", False, function)


def _four(function: Callable) -> tuple[Variant, ...]:
    return tuple(
        Variant(f"{c}_{kind}", c == "centred", partial(function, eigen=kind == "eigen"))
        for c in ("centred", "raw")
        for kind in ("singular", "eigen")
    )


def _decay(field: str, ranges: Sequence[tuple[float, float]]) -> tuple[Variant, ...]:
    """Variants that return one field of `spectral_decay` over relative ranks; NaN where they are too few."""

    def read(spectrum: Spectrum, low: float, high: float, **how: bool) -> np.ndarray:
        first, last = decay_ranks(spectrum, low, high)
        if last < first + 2:
            return np.full(spectrum.s.shape[:-1], np.nan)
        return getattr(spectral_decay(spectrum, first, last, **how), field)

    fits = {"singular": {}, "eigen_weighted": {"eigen": True, "weighted": True}}
    return tuple(
        Variant(f"{c}_{fit}_ranks_{low:g}_{high:g}", c == "centred", partial(read, low=low, high=high, **how))
        for fit, how in fits.items()
        if field != "share" or fit == "singular"  # the fit does not matter
        for low, high in ranges
        for c in ("centred", "raw")
    )


def evaluate(measure: Measure, variant: Variant, reference: np.ndarray, model: np.ndarray) -> float:
    """The measure of ``model`` (n, d), against ``reference`` (n, d) where it compares: the plain, slow way."""
    if measure.kind == "spectrum":
        return float(variant.function(factorise(model, variant.centred)))
    if measure.kind == "cloud":
        return float(variant.function(model))
    if measure.kind == "captured":
        clouds = (reference, model) if SIDES[0] in variant.name else (model, reference)
        own, other = (factorise(x, variant.centred, variant.k).basis for x in clouds)
        return float(variant.function(clouds[0] - variant.centred * clouds[0].mean(axis=0), own, other))
    if measure.kind == "bases":
        return float(variant.function(*(factorise(x, variant.centred, variant.k).basis for x in (reference, model))))
    return float(variant.function(reference, model))
