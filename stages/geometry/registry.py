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

from stages.geometry.chance import isotropic_spectrum
from stages.geometry.curvature import flat_cloud, local_pca_curvature
from stages.geometry.dimension import (
    Neighbours,
    gride,
    gride_from_distances,
    local_pca,
    mle,
    mle_from_distances,
    neighbours,
    twonn,
    twonn_from_distances,
)
from stages.geometry.norms import anisotropy, massive_activations, mean_share, non_massive_rows, norm_statistics
from stages.geometry.paired import alignment_subsets, predictivity_subsets, svcca_subsets
from stages.geometry.pairwise import (
    kernel_cka_subsets,
    neighbour_lists,
    neighbour_lists_in_subsets,
    rank_correlation_subsets,
    shared_neighbours,
)
from stages.geometry.resampling import cka_subsets
from stages.geometry.similarity import (
    angle_from_alignment,
    angular_shape_distance,
    debiased_cka,
    distance_rank_correlation,
    distance_ranks,
    gaussian_kernel,
    kernel_cka,
    linear_predictivity,
    procrustes_distance,
    procrustes_from_alignment,
    squared_distances,
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
    grassmann_chance,
    grassmann_distance,
    grassmann_sweep,
    preservation,
    preservation_chance,
    preservation_sweep,
    projection_overlap,
    projection_overlap_sweep,
)

NEIGHBOURS = 10
"""Of a prompt, compared between two models: the usual number."""
DIMENSION_NEIGHBOURS, GRIDE_RANKS, PATCH = 20, (2, 8, 32), 50
"""Neighbours that the estimates of dimension read; ranks of the farther ones of GRIDE: its scales."""
CANDIDATES = 128
"""Nearest others that are searched once, so that every half finds the most that a measure asks for among them."""
RSA_PROMPTS = 400
"""Their 80,000 distances are ranked, and ranked again on every half."""
SURFACE_ROWS = 400
"""Rows on which curvature is measured: its cost is that of a fit at each of them."""

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


class MeasureVariant(NamedTuple):
    """One way to compute a measure; its name never leaves the number."""

    name: str
    centred: bool
    """Without centring no measure is invariant to translation, whatever it declares."""
    function: Callable[..., np.ndarray]
    k: int = 0
    """Leading directions read, for measures of subspaces; nearest neighbours, for measures of dimension."""
    subsets: Callable[..., np.ndarray] | None = None
    """The same on many halves at once, for the kinds of which the halves have nothing in common that serves all measures:
    (x, y, quarters, pairs) -> (R, pairs) for rows; (two matrices of squared distances, masks) -> (B,) for distances;
    the distances (m, k) inside one half -> number for neighbours."""


class ActivationMeasure(NamedTuple):
    """One entry of the catalogue."""

    name: str
    input: Literal["spectrum", "cloud", "surface", "neighbours", "bases", "captured", "rows", "distances"]
    """What a variant's function reads. Of the model: one `Spectrum`; one matrix (n, d), also for surface, which is costly;
    one `Neighbours`. Of model and reference: two bases (d, k); one matrix, its basis and the other's; two paired matrices
    (n, d); two matrices (n, n) of squared distances."""
    variants: tuple[MeasureVariant, ...]
    invariances: frozenset[Invariance]
    source: str
    undefined: str = "undefined for this spectrum"
    """Reason given when the value is NaN."""
    chance: Callable[[int, int, int, int, int], float] | None = None
    """Expected value without structure from (n, d, k, draws, seed); spectra have their own (`chance.isotropic_spectrum`)."""
    sweep: Callable[..., np.ndarray] | None = None
    """Of measures of bases: all k at once."""
    best: float = 1.0
    """Of scores between two models: that of a model with itself on the same prompts."""
    most: int | None = None
    """Of measures of distances: prompts read, the first so many; its cost grows with the square of their number."""
    halves: int = 2
    """Of measures of rows: halves of each partition that serve the interval; all six where they are cheap."""


def catalogue(
    ks: Sequence[int], decay: Sequence[tuple[float, float]], share: float, legacy_k: int, bands: Sequence[float]
) -> tuple[ActivationMeasure, ...]:
    """All measures, in the order of the records.

    ``ks``: directions compared by preservation; ``decay``: ranges of fitted ranks as shares of min(n, d);
    ``share``: variance that `components_for` asks for; ``legacy_k``: directions of the prior study's preservation;
    ``bands``: bounds of the bands of ranks, as shares of the rank.
    """
    short = "the fitted ranks are fewer than 3 or hold zeros"
    deficient = "rank-deficient: the smallest singular value is rounding error"
    centrings = ("centred", "raw")
    swept = {
        function: tuple(MeasureVariant(f"{c}_k{k}", c == "centred", function, k) for c in centrings for k in ks)
        for function in (preservation, projection_overlap, grassmann_distance)
    }
    captured = tuple(
        MeasureVariant(f"{c}_{side}_k{k}", c == "centred", captured_variance, k)
        for side in SIDES
        for c in centrings
        for k in ks
    )
    return (
        ActivationMeasure("effective_rank", "spectrum", _four(effective_rank), CLOUD, "Roy & Vetterli 2007"),
        ActivationMeasure("rankme", "spectrum", (MeasureVariant("raw_singular", False, rankme),), CLOUD, "Garrido et al. 2023"),
        ActivationMeasure("rankme_eigen", "spectrum", (MeasureVariant("centred_eigen", True, rankme_eigen),), CLOUD, "Li et al. 2025"),
        ActivationMeasure("spectral_decay", "spectrum", (*_decay("alpha", decay), MeasureVariant("raw_legacy", False, legacy_decay)), CLOUD, "Agrawal et al. 2022; Stringer et al. 2019", short),
        ActivationMeasure("spectral_decay_r2", "spectrum", _decay("r2", decay), CLOUD, "Agrawal et al. 2022; Stringer et al. 2019", short),
        ActivationMeasure("spectral_decay_share", "spectrum", _decay("share", decay), CLOUD, "variance carried by the fitted ranks", short),
        ActivationMeasure("band_entropy", "spectrum", tuple(v for low, high in pairwise(bands) for v in _two(partial(band_entropy, low=low, high=high), f"_{low:g}_{high:g}")), CLOUD, "evenness inside a band of ranks", "the band has fewer than 2 ranks or no variance"),
        ActivationMeasure("participation_ratio", "spectrum", _four(participation_ratio), CLOUD, "Gao et al. 2017"),
        ActivationMeasure("stable_rank", "spectrum", _two(stable_rank), CLOUD, "Rudelson & Vershynin 2007"),
        ActivationMeasure("numerical_rank", "spectrum", (MeasureVariant("centred", True, numerical_rank),), CLOUD | {"dimension_scale"}, "singular values above the rounding of float32"),
        ActivationMeasure("condition_number", "spectrum", _two(condition_number), CLOUD, "ratio of extreme singular values", deficient),
        ActivationMeasure("components", "spectrum", _two(partial(components_for, share=share), f"_{share:g}"), CLOUD, f"directions carrying {share:g} of the variance"),
        ActivationMeasure("mean_share", "cloud", (MeasureVariant("raw", False, mean_share),), RAW, "share of the raw second moment that is the mean", "every row is zero", lambda n, d, k, draws, seed: 1 / n),
        ActivationMeasure("anisotropy", "cloud", (MeasureVariant("raw", False, anisotropy),), RAW, "Ethayarajh 2019", "a row is zero", lambda n, d, k, draws, seed: 0.0),
        ActivationMeasure("norm_mean", "cloud", (MeasureVariant("raw", False, _norm_mean),), RAW - {"scale"}, "Euclidean norms of the rows", chance=_none),
        ActivationMeasure("norm_spread", "cloud", (MeasureVariant("raw_sd_over_mean", False, _norm_spread),), RAW, "Euclidean norms of the rows", "every row is zero", chance=_none),
        ActivationMeasure("largest_value", "cloud", (MeasureVariant("raw_over_median", False, _largest_value),), frozenset({"scale"}), "massive activations: Sun et al. 2024", "the median value is zero", chance=_none),
        ActivationMeasure("effective_rank_without_massive_rows", "cloud", (MeasureVariant("centred_singular", True, _rank_of_kept),), CLOUD - {"translation"}, "rows above ten median norms left out", chance=lambda n, d, k, draws, seed: float(effective_rank(isotropic_spectrum(n, d, True, 8, seed)).mean())),
        ActivationMeasure("largest_norm", "cloud", (MeasureVariant("raw_over_median", False, _largest_over_median),), RAW, "massive activations: Sun et al. 2024", "the median norm is zero", chance=_none),
        ActivationMeasure("preservation", "bases", (*swept[preservation], MeasureVariant("raw_legacy", False, preservation, legacy_k)), SUBSPACE, "Björck & Golub 1973", chance=lambda n, d, k, draws, seed: float(preservation_chance(d, k, draws, seed).mean()), sweep=preservation_sweep),
        ActivationMeasure("projection_overlap", "bases", swept[projection_overlap], SUBSPACE, "mean squared cosine", chance=lambda n, d, k, draws, seed: k / d, sweep=projection_overlap_sweep),
        ActivationMeasure("grassmann_distance", "bases", swept[grassmann_distance], SUBSPACE, "Edelman, Arias & Smith 1998", chance=lambda n, d, k, draws, seed: grassmann_chance(d, k, draws, seed), sweep=grassmann_sweep, best=0.0),
        ActivationMeasure("captured_variance", "captured", captured, SUBSPACE, "variance-weighted overlap", chance=lambda n, d, k, draws, seed: k / d),
        ActivationMeasure("cka", "rows", (MeasureVariant("debiased", True, debiased_cka, subsets=cka_subsets),), CLOUD, "Kornblith et al. 2019; Song et al. 2012", chance=lambda n, d, k, draws, seed: 0.0, halves=6),
        ActivationMeasure("rbf_cka", "distances", (MeasureVariant("debiased", True, _rbf_cka, subsets=_rbf_cka_subsets),), CLOUD, "Kornblith et al. 2019", chance=lambda n, d, k, draws, seed: 0.0),
        ActivationMeasure("rsa", "distances", (MeasureVariant("spearman", True, _rsa, subsets=rank_correlation_subsets),), CLOUD, "Kriegeskorte et al. 2008", chance=lambda n, d, k, draws, seed: 0.0, most=RSA_PROMPTS),
        ActivationMeasure("mutual_neighbours", "distances", (MeasureVariant(f"k{NEIGHBOURS}", True, _mutual_neighbours, subsets=_mutual_neighbours_subsets),), CLOUD, "Huh et al. 2024", chance=lambda n, d, k, draws, seed: NEIGHBOURS / (n - 1)),
        ActivationMeasure("svcca", "rows", (MeasureVariant("share_0.99", True, svcca, subsets=svcca_subsets),), CLOUD, "Raghu et al. 2017"),
        ActivationMeasure("linear_predictivity", "rows", (MeasureVariant("from_reference", True, linear_predictivity, subsets=predictivity_subsets), MeasureVariant("from_model", True, _backwards, subsets=_backwards_subsets)), CLOUD, "Schrimpf et al. 2018"),
        ActivationMeasure("procrustes_distance", "rows", (MeasureVariant("centred", True, procrustes_distance, subsets=_procrustes_subsets),), CLOUD, "Williams et al. 2021", best=0.0),
        ActivationMeasure("angular_shape_distance", "rows", (MeasureVariant("centred", True, angular_shape_distance, subsets=_angle_subsets),), CLOUD, "Williams et al. 2021", best=0.0),
        ActivationMeasure("dimension_twonn", "neighbours", (MeasureVariant("centred", True, twonn, 2, subsets=twonn_from_distances),), CLOUD, "Facco et al. 2017"),
        ActivationMeasure("dimension_mle", "neighbours", (MeasureVariant(f"centred_k{DIMENSION_NEIGHBOURS}", True, partial(mle, k=DIMENSION_NEIGHBOURS), DIMENSION_NEIGHBOURS, subsets=mle_from_distances),), CLOUD, "Levina & Bickel 2005"),
        ActivationMeasure("dimension_gride", "neighbours", tuple(MeasureVariant(f"centred_rank{rank}", True, partial(_gride, rank=rank), rank, subsets=partial(_gride_of, rank=rank)) for rank in GRIDE_RANKS), CLOUD, "Denti et al. 2022"),
        ActivationMeasure("dimension_local_pca", "neighbours", (MeasureVariant(f"centred_k{PATCH}", True, partial(local_pca, k=PATCH, points=SURFACE_ROWS), PATCH),), CLOUD, "Fukunaga & Olsen 1971"),
        ActivationMeasure("local_pca_curvature", "surface", (MeasureVariant("squared_dimension2", True, _curvature),), CLOUD, "Sritharan et al. 2021"),
    )  # fmt: skip


def surface_null(x: np.ndarray) -> float:
    """Of the measure of surfaces: its value for a cloud with the mean and covariance of ``x`` (n, d) and no curvature."""
    return _curvature(flat_cloud(x[:SURFACE_ROWS]))


def _curvature(x: np.ndarray) -> float:
    """Median squared curvature of a surface of 2 dimensions, times the squared radius: below 0 where noise alone gives more."""
    found = local_pca_curvature(x[:SURFACE_ROWS], dimension=2, neighbours=20)
    return float(np.nanmedian(found.squared) * np.median(found.radius) ** 2)


def _none(n: int, d: int, k: int, draws: int, seed: int) -> float:
    """There is no value by chance: the number describes the model's units, or its outliers."""
    return float("nan")


def _norm_mean(x: np.ndarray) -> np.ndarray:
    return norm_statistics(x).mean


def _norm_spread(x: np.ndarray) -> float:
    found = norm_statistics(x)
    return float(found.sd / found.mean) if found.mean > 0 else float("nan")


def _largest_value(x: np.ndarray) -> np.ndarray:
    return massive_activations(x).largest_to_median


def _largest_over_median(x: np.ndarray) -> np.ndarray:
    return norm_statistics(x).maximum_to_median


def _rank_of_kept(x: np.ndarray) -> np.ndarray:
    return effective_rank(factorise(x[non_massive_rows(x)], centred=True))


def _backwards(reference: np.ndarray, model: np.ndarray) -> float:
    return linear_predictivity(model, reference)


def _backwards_subsets(reference: np.ndarray, model: np.ndarray, *how: object) -> np.ndarray:
    return predictivity_subsets(model, reference, *how)


def _procrustes_subsets(*how: object) -> np.ndarray:
    return procrustes_from_alignment(alignment_subsets(*how))


def _angle_subsets(*how: object) -> np.ndarray:
    return angle_from_alignment(alignment_subsets(*how))


def _rbf_cka(a: np.ndarray, b: np.ndarray) -> float:
    return kernel_cka(gaussian_kernel(a), gaussian_kernel(b))


def _rbf_cka_subsets(a: np.ndarray, b: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """With the width of the kernels that all prompts give."""
    return kernel_cka_subsets(gaussian_kernel(a), gaussian_kernel(b), masks)


def _rsa(a: np.ndarray, b: np.ndarray) -> float:
    return distance_rank_correlation(distance_ranks(a), distance_ranks(b))


def _mutual_neighbours(a: np.ndarray, b: np.ndarray) -> float:
    return shared_neighbours(neighbour_lists(a, NEIGHBOURS).indices, neighbour_lists(b, NEIGHBOURS).indices, len(a))


def _mutual_neighbours_subsets(a: np.ndarray, b: np.ndarray, masks: np.ndarray) -> np.ndarray:
    near = [neighbour_lists_in_subsets(neighbour_lists(z, CANDIDATES), masks, NEIGHBOURS) for z in (a, b)]
    return np.array([shared_neighbours(x.indices, y.indices, len(a)) for x, y in zip(*near, strict=True)])


def _gride(cloud: Neighbours, rank: int) -> float:
    return float(gride(cloud, rank).dimension[-1])


def _gride_of(distances: np.ndarray, rank: int) -> float:
    return gride_from_distances(distances[:, rank // 2 - 1], distances[:, rank - 1], rank)


def _two(function: Callable, suffix: str = "") -> tuple[MeasureVariant, ...]:
    return MeasureVariant(f"centred{suffix}", True, function), MeasureVariant(f"raw{suffix}", False, function)


def _four(function: Callable) -> tuple[MeasureVariant, ...]:
    return tuple(
        MeasureVariant(f"{c}_{kind}", c == "centred", partial(function, eigen=kind == "eigen"))
        for c in ("centred", "raw")
        for kind in ("singular", "eigen")
    )


def _decay(field: str, ranges: Sequence[tuple[float, float]]) -> tuple[MeasureVariant, ...]:
    """Variants that return one field of `spectral_decay` over relative ranks; NaN where they are too few."""

    def read(spectrum: Spectrum, low: float, high: float, **how: bool) -> np.ndarray:
        first, last = decay_ranks(spectrum, low, high)
        if last < first + 2:
            return np.full(spectrum.s.shape[:-1], np.nan)
        return getattr(spectral_decay(spectrum, first, last, **how), field)

    fits = {"singular": {}, "eigen_weighted": {"eigen": True, "weighted": True}}
    return tuple(
        MeasureVariant(f"{c}_{fit}_ranks_{low:g}_{high:g}", c == "centred", partial(read, low=low, high=high, **how))
        for fit, how in fits.items()
        if field != "share" or fit == "singular"  # the fit does not matter
        for low, high in ranges
        for c in ("centred", "raw")
    )


def evaluate(measure: ActivationMeasure, variant: MeasureVariant, reference: np.ndarray, model: np.ndarray) -> float:
    """The measure of ``model`` (n, d), against ``reference`` (n, d) where it compares: the plain, slow way."""
    if measure.input == "spectrum":
        return float(variant.function(factorise(model, variant.centred)))
    if measure.input in ("cloud", "surface"):
        return float(variant.function(model))
    if measure.input == "neighbours":
        return float(variant.function(neighbours(model, variant.k)))
    if measure.input == "distances":
        return float(variant.function(squared_distances(reference), squared_distances(model)))
    if measure.input == "captured":
        clouds = (reference, model) if SIDES[0] in variant.name else (model, reference)
        own, other = (factorise(x, variant.centred, variant.k).basis for x in clouds)
        return float(variant.function(clouds[0] - variant.centred * clouds[0].mean(axis=0), own, other))
    if measure.input == "bases":
        return float(variant.function(*(factorise(x, variant.centred, variant.k).basis for x in (reference, model))))
    return float(variant.function(reference, model))
