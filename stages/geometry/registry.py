"""The catalogue of measures: the input of each, its variants, and the transformations that leave it unchanged.

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
    twonn,
    twonn_from_distances,
)
from stages.geometry.norms import anisotropy, massive_activations, mean_share, non_massive_rows, norm_statistics
from stages.geometry.paired import Pairs, alignment_subsets, predictivity_subsets, svcca_subsets
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
    gaussian_kernel,
    linear_predictivity,
    mutual_neighbours,
    procrustes_distance,
    procrustes_from_alignment,
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
    grassmann_chance,
    grassmann_distance,
    grassmann_sweep,
    preservation,
    preservation_chance,
    preservation_sweep,
    projection_overlap,
    projection_overlap_sweep,
)

# Neighbours of a prompt that two models are compared by: the usual number.
NEIGHBOURS = 10
# Neighbours that the estimates of dimension read; ranks of the farther ones of GRIDE: its scales.
DIMENSION_NEIGHBOURS, GRIDE_RANKS, PATCH = 20, (2, 8, 32), 50
# Nearest neighbours that are searched once, so that every half finds the most that a measure asks for among them.
CANDIDATES = 128
# Prompts of RSA: their 80,000 distances are ranked, and ranked again on every half.
RSA_PROMPTS = 400
# Rows on which curvature is measured: its cost is that of a fit at each of them.
SURFACE_ROWS = 400

# Transformations of the model's activations (of both sides for common_rotation): an orthogonal matrix, a positive
# factor, a constant vector added to all rows, a positive factor for each dimension.
Invariance = Literal["common_rotation", "rotation", "scale", "translation", "dimension_scale"]
# The invariances of a measure of one spectrum.
CLOUD = frozenset({"common_rotation", "rotation", "scale", "translation"})
# The invariances of a measure that is about the mean itself.
RAW = frozenset({"common_rotation", "rotation", "scale"})
# The invariances of a measure that compares directions, which a rotation of one side moves.
SUBSPACE = frozenset({"common_rotation", "scale", "translation"})
# Whose variance `captured_variance` speaks of; the subspace is that of the opposite side.
SIDES = ("of_reference", "of_model")
CENTRINGS = ("centred", "raw")

# The value of a measure by chance, from (n, d, k, draws, seed).
Chance = Callable[[int, int, int, int, int], float]


class MeasureVariant(NamedTuple):
    """One way to compute a measure; its name never leaves the number."""

    name: str
    centred: bool
    """Without centring no measure is invariant to translation, whatever it declares."""
    function: Callable[..., np.ndarray]
    k: int = 0
    """Leading directions read, for measures of subspaces; nearest neighbours, for measures of dimension."""
    subsets: Callable[..., np.ndarray] | None = None
    """The same on many halves at once, for inputs of which the halves have nothing in common that serves all measures:
    (x, y, quarters, pairs) -> (R, pairs) for rows; (two matrices of squared distances, masks) -> (B,) for distances;
    the distances (m, k) inside one half -> number for neighbours."""


class ActivationMeasure(NamedTuple):
    """One entry of the catalogue: a measure of activations with its variants."""

    name: str
    input: Literal["spectrum", "cloud", "surface", "neighbours", "bases", "captured", "rows", "distances"]
    """Input of a variant's function. From the model: one `Spectrum`; one matrix (n, d), also for surface, which is
    costly; one `Neighbours`. From model and reference: two bases (d, k); one matrix, its basis and that of the opposite
    side; two paired matrices (n, d); two matrices (n, n) of squared distances."""
    variants: tuple[MeasureVariant, ...]
    invariances: frozenset[Invariance]
    source: str
    undefined: str = "undefined for this spectrum"
    """Reason given when the value is NaN."""
    chance: Chance | None = None
    """Expected value without structure; spectra have their own (`chance.isotropic_spectrum`)."""
    sweep: Callable[..., np.ndarray] | None = None
    """All k at once, for measures of bases."""
    best: float = 1.0
    """Score of a model with itself on the same prompts, for scores between two models."""
    most: int | None = None
    """Number of first prompts read, for measures of distances, whose cost grows with its square."""
    halves: int = 2
    """Halves of each partition that serve the interval, for measures of rows; all six where they are cheap."""


def catalogue(
    ks: Sequence[int], decay: Sequence[tuple[float, float]], share: float, legacy_k: int, bands: Sequence[float]
) -> tuple[ActivationMeasure, ...]:
    """Return all measures, in the order of the records.

    ``ks``: directions compared by preservation; ``decay``: ranges of fitted ranks as shares of min(n, d);
    ``share``: variance that `components_for` asks for; ``legacy_k``: directions of the prior study's preservation;
    ``bands``: bounds of the bands of ranks, as shares of the rank.
    """
    return (
        *_spectral_measures(decay, share, bands),
        *_cloud_measures(),
        *_subspace_measures(ks, legacy_k),
        *_similarity_measures(),
        *_dimension_measures(),
        ActivationMeasure(
            "local_pca_curvature",
            "surface",
            (MeasureVariant("squared_dimension2", True, _curvature),),
            CLOUD,
            "Sritharan et al. 2021",
        ),
    )


def _spectral_measures(
    decay: Sequence[tuple[float, float]], share: float, bands: Sequence[float]
) -> tuple[ActivationMeasure, ...]:
    """Return the measures of one spectrum."""
    short = "the fitted ranks are fewer than 3 or hold zeros"
    narrow = "the band has fewer than 2 ranks or no variance"
    deficient = "rank-deficient: the smallest singular value is rounding error"
    decays = (*_decay("alpha", decay), MeasureVariant("raw_legacy", False, legacy_decay))
    in_bands = tuple(
        variant
        for low, high in pairwise(bands)
        for variant in _two(partial(band_entropy, low=low, high=high), f"_{low:g}_{high:g}")
    )
    components = _two(partial(components_for, share=share), f"_{share:g}")
    full_rank = (MeasureVariant("centred", True, numerical_rank),)
    dimension_scale = CLOUD | {"dimension_scale"}
    rounding = "singular values above the rounding of float32"

    def spectral(name: str, variants: tuple[MeasureVariant, ...], *source: str) -> ActivationMeasure:
        return ActivationMeasure(name, "spectrum", variants, CLOUD, *source)

    return (
        spectral("effective_rank", _four(effective_rank), "Roy & Vetterli 2007"),
        spectral("rankme", (MeasureVariant("raw_singular", False, rankme),), "Garrido et al. 2023"),
        spectral("rankme_eigen", (MeasureVariant("centred_eigen", True, rankme_eigen),), "Li et al. 2025"),
        spectral("spectral_decay", decays, "Agrawal et al. 2022; Stringer et al. 2019", short),
        spectral("spectral_decay_r2", _decay("r2", decay), "Agrawal et al. 2022; Stringer et al. 2019", short),
        spectral("spectral_decay_share", _decay("share", decay), "variance carried by the fitted ranks", short),
        spectral("band_entropy", in_bands, "evenness inside a band of ranks", narrow),
        spectral("participation_ratio", _four(participation_ratio), "Gao et al. 2017"),
        spectral("stable_rank", _two(stable_rank), "Rudelson & Vershynin 2007"),
        ActivationMeasure("numerical_rank", "spectrum", full_rank, dimension_scale, rounding),
        spectral("condition_number", _two(condition_number), "ratio of extreme singular values", deficient),
        spectral("components", components, f"directions carrying {share:g} of the variance"),
    )


def _cloud_measures() -> tuple[ActivationMeasure, ...]:
    """Return the measures of the rows of one cloud."""
    massive, lengths = "massive activations: Sun et al. 2024", "Euclidean norms of the rows"
    mean_source = "share of the raw second moment that is the mean"

    def cloud(
        name: str, variant: MeasureVariant, invariances: frozenset, source: str, undefined: str, chance: Chance
    ) -> ActivationMeasure:
        return ActivationMeasure(name, "cloud", (variant,), invariances, source, undefined, chance)

    raw, over_median = partial(MeasureVariant, "raw", False), partial(MeasureVariant, "raw_over_median", False)
    spread, rank = (
        MeasureVariant("raw_sd_over_mean", False, _norm_spread),
        MeasureVariant("centred_singular", True, _rank_without_massive_rows),
    )
    undefined = ActivationMeasure._field_defaults["undefined"]
    return (
        cloud("mean_share", raw(mean_share), RAW, mean_source, "every row is zero", lambda n, *_: 1 / n),
        cloud("anisotropy", raw(anisotropy), RAW, "Ethayarajh 2019", "a row is zero", _zero),
        cloud("norm_mean", raw(_norm_mean), RAW - {"scale"}, lengths, undefined, _no_chance),
        cloud("norm_spread", spread, RAW, lengths, "every row is zero", _no_chance),
        cloud(
            "largest_value",
            over_median(_largest_value),
            frozenset({"scale"}),
            massive,
            "the median value is zero",
            _no_chance,
        ),
        cloud(
            "effective_rank_without_massive_rows",
            rank,
            CLOUD - {"translation"},
            "rows above ten median norms left out",
            undefined,
            _isotropic_effective_rank,
        ),
        cloud("largest_norm", over_median(_largest_norm), RAW, massive, "the median norm is zero", _no_chance),
    )


def _subspace_measures(ks: Sequence[int], legacy_k: int) -> tuple[ActivationMeasure, ...]:
    """Return the measures that compare the leading directions of two models."""

    def variants(function: Callable) -> tuple[MeasureVariant, ...]:
        return tuple(MeasureVariant(f"{c}_k{k}", c == "centred", function, k) for c in CENTRINGS for k in ks)

    captured = tuple(
        MeasureVariant(f"{c}_{side}_k{k}", c == "centred", captured_variance, k)
        for side in SIDES
        for c in CENTRINGS
        for k in ks
    )
    return (
        ActivationMeasure(
            "preservation",
            "bases",
            (*variants(preservation), MeasureVariant("raw_legacy", False, preservation, legacy_k)),
            SUBSPACE,
            "Björck & Golub 1973",
            chance=lambda n, d, k, draws, seed: float(preservation_chance(d, k, draws, seed).mean()),
            sweep=preservation_sweep,
        ),
        ActivationMeasure(
            "projection_overlap",
            "bases",
            variants(projection_overlap),
            SUBSPACE,
            "mean squared cosine",
            chance=_share_of_dimensions,
            sweep=projection_overlap_sweep,
        ),
        ActivationMeasure(
            "grassmann_distance",
            "bases",
            variants(grassmann_distance),
            SUBSPACE,
            "Edelman, Arias & Smith 1998",
            chance=lambda n, d, k, draws, seed: grassmann_chance(d, k, draws, seed),
            sweep=grassmann_sweep,
            best=0.0,
        ),
        ActivationMeasure(
            "captured_variance",
            "captured",
            captured,
            SUBSPACE,
            "variance-weighted overlap",
            chance=_share_of_dimensions,
        ),
    )


def _similarity_measures() -> tuple[ActivationMeasure, ...]:
    """Return the measures that compare two clouds whose rows are paired, by their rows or by their distances."""

    def rows(name: str, variants: tuple[MeasureVariant, ...], source: str, **more: object) -> ActivationMeasure:
        return ActivationMeasure(name, "rows", variants, CLOUD, source, **more)

    def distances(name: str, variant: MeasureVariant, source: str, **more: object) -> ActivationMeasure:
        return ActivationMeasure(name, "distances", (variant,), CLOUD, source, **more)

    def centred(name: str, function: Callable, subsets: Callable) -> MeasureVariant:
        return MeasureVariant(name, True, function, subsets=subsets)

    predictivity = (
        centred("from_reference", linear_predictivity, predictivity_subsets),
        centred("from_model", _predictivity_from_model, _predictivity_from_model_subsets),
    )
    neighbours = centred(f"k{NEIGHBOURS}", partial(mutual_neighbours, k=NEIGHBOURS), _mutual_neighbours_subsets)
    procrustes = centred("centred", procrustes_distance, _procrustes_subsets)
    angle = centred("centred", angular_shape_distance, _angle_subsets)
    cka_source = "Kornblith et al. 2019; Song et al. 2012"
    rank_correlation = centred("spearman", rsa, rank_correlation_subsets)
    gaussian_cka = centred("debiased", rbf_cka, _rbf_cka_subsets)
    return (
        rows("cka", (centred("debiased", debiased_cka, cka_subsets),), cka_source, chance=_zero, halves=6),
        distances("rbf_cka", gaussian_cka, "Kornblith et al. 2019", chance=_zero),
        distances("rsa", rank_correlation, "Kriegeskorte et al. 2008", chance=_zero, most=RSA_PROMPTS),
        distances("mutual_neighbours", neighbours, "Huh et al. 2024", chance=lambda n, *_: NEIGHBOURS / (n - 1)),
        rows("svcca", (centred("share_0.99", svcca, svcca_subsets),), "Raghu et al. 2017"),
        rows("linear_predictivity", predictivity, "Schrimpf et al. 2018"),
        rows("procrustes_distance", (procrustes,), "Williams et al. 2021", best=0.0),
        rows("angular_shape_distance", (angle,), "Williams et al. 2021", best=0.0),
    )


def _dimension_measures() -> tuple[ActivationMeasure, ...]:
    """Return the estimates of intrinsic dimension."""

    def dimension(name: str, variants: tuple[MeasureVariant, ...], source: str) -> ActivationMeasure:
        return ActivationMeasure(name, "neighbours", variants, CLOUD, source)

    k, points = DIMENSION_NEIGHBOURS, SURFACE_ROWS
    likelihood = MeasureVariant(f"centred_k{k}", True, partial(mle, k=k), k, mle_from_distances)
    patches = MeasureVariant(f"centred_k{PATCH}", True, partial(local_pca, k=PATCH, points=points), PATCH)
    scales = tuple(
        MeasureVariant(f"centred_rank{r}", True, partial(_gride, rank=r), r, partial(_gride_from_distances, rank=r))
        for r in GRIDE_RANKS
    )
    finest = MeasureVariant("centred", True, twonn, 2, twonn_from_distances)
    return (
        dimension("dimension_twonn", (finest,), "Facco et al. 2017"),
        dimension("dimension_mle", (likelihood,), "Levina & Bickel 2005"),
        dimension("dimension_gride", scales, "Denti et al. 2022"),
        dimension("dimension_local_pca", (patches,), "Fukunaga & Olsen 1971"),
    )


def surface_null(x: np.ndarray) -> float:
    """Return the curvature of a cloud with the mean and covariance of ``x`` (n, d) and no curvature of its own."""
    return _curvature(flat_cloud(x[:SURFACE_ROWS]))


def _curvature(x: np.ndarray) -> float:
    """Return the median squared curvature of a surface of 2 dimensions, times the squared radius.

    Below 0 where noise alone gives more.
    """
    curvature = local_pca_curvature(x[:SURFACE_ROWS], dimension=2, neighbours=20)
    return float(np.nanmedian(curvature.squared) * np.median(curvature.radius) ** 2)


def _no_chance(n: int, d: int, k: int, draws: int, seed: int) -> float:
    """Return NaN: there is no value by chance, the number describes the model's units, or its outliers."""
    return float("nan")


def _zero(n: int, d: int, k: int, draws: int, seed: int) -> float:
    return 0.0


def _share_of_dimensions(n: int, d: int, k: int, draws: int, seed: int) -> float:
    return k / d


def _isotropic_effective_rank(n: int, d: int, k: int, draws: int, seed: int) -> float:
    return float(effective_rank(isotropic_spectrum(n, d, True, 8, seed)).mean())


def _norm_mean(x: np.ndarray) -> np.ndarray:
    return norm_statistics(x).mean


def _norm_spread(x: np.ndarray) -> float:
    norms = norm_statistics(x)
    return float(norms.sd / norms.mean) if norms.mean > 0 else float("nan")


def _largest_value(x: np.ndarray) -> np.ndarray:
    return massive_activations(x).largest_to_median


def _largest_norm(x: np.ndarray) -> np.ndarray:
    return norm_statistics(x).maximum_to_median


def _rank_without_massive_rows(x: np.ndarray) -> np.ndarray:
    return effective_rank(factorise(x[non_massive_rows(x)], centred=True))


def _predictivity_from_model(reference: np.ndarray, model: np.ndarray) -> float:
    return linear_predictivity(model, reference)


def _predictivity_from_model_subsets(
    reference: np.ndarray, model: np.ndarray, quarters: np.ndarray, pairs: Pairs
) -> np.ndarray:
    return predictivity_subsets(model, reference, quarters, pairs)


def _procrustes_subsets(x: np.ndarray, y: np.ndarray, quarters: np.ndarray, pairs: Pairs) -> np.ndarray:
    return procrustes_from_alignment(alignment_subsets(x, y, quarters, pairs))


def _angle_subsets(x: np.ndarray, y: np.ndarray, quarters: np.ndarray, pairs: Pairs) -> np.ndarray:
    return angle_from_alignment(alignment_subsets(x, y, quarters, pairs))


def _rbf_cka_subsets(a: np.ndarray, b: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Return the CKA on each of ``masks``, with the width of the kernels that all prompts give."""
    return kernel_cka_subsets(gaussian_kernel(a), gaussian_kernel(b), masks)


def _mutual_neighbours_subsets(a: np.ndarray, b: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Return the share of mutual neighbours on each of ``masks``."""
    lists = [neighbour_lists_in_subsets(neighbour_lists(z, CANDIDATES), masks, NEIGHBOURS) for z in (a, b)]
    return np.array([shared_neighbours(x.indices, y.indices, len(a)) for x, y in zip(*lists, strict=True)])


def _gride(cloud: Neighbours, rank: int) -> float:
    return float(gride(cloud, rank).dimension[-1])


def _gride_from_distances(distances: np.ndarray, rank: int) -> float:
    return gride_from_distances(distances[:, rank // 2 - 1], distances[:, rank - 1], rank)


def _two(function: Callable, suffix: str = "") -> tuple[MeasureVariant, ...]:
    """Return the centred and the raw variant of a spectral measure."""
    return MeasureVariant(f"centred{suffix}", True, function), MeasureVariant(f"raw{suffix}", False, function)


def _four(function: Callable) -> tuple[MeasureVariant, ...]:
    """Return the variants of a spectral measure by centring and by weights, singular values or eigenvalues."""
    return tuple(
        MeasureVariant(f"{c}_{weights}", c == "centred", partial(function, eigen=weights == "eigen"))
        for c in CENTRINGS
        for weights in ("singular", "eigen")
    )


def _decay(field: str, ranges: Sequence[tuple[float, float]]) -> tuple[MeasureVariant, ...]:
    """Return variants of one field of `spectral_decay` over relative ranks; NaN where they are too few."""

    def read(spectrum: Spectrum, low: float, high: float, **options: bool) -> np.ndarray:
        first, last = decay_ranks(spectrum, low, high)
        if last < first + 2:
            return np.full(spectrum.s.shape[:-1], np.nan)
        return getattr(spectral_decay(spectrum, first, last, **options), field)

    fits = {"singular": {}, "eigen_weighted": {"eigen": True, "weighted": True}}
    return tuple(
        MeasureVariant(
            f"{c}_{fit}_ranks_{low:g}_{high:g}", c == "centred", partial(read, low=low, high=high, **options)
        )
        for fit, options in fits.items()
        if field != "share" or fit == "singular"  # the fit does not matter
        for low, high in ranges
        for c in CENTRINGS
    )
