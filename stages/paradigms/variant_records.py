"""The record of one variant of a measure: value, level by chance, value at n / 2, index and half-sample replicates.

There is one function for each input of a measure (`EVALUATORS`), all reading the same `Clouds`, in which whatever is
expensive is computed once. `stages/paradigms/fast_scores.py` is a second, fast implementation of preservation, its
index, effective rank and CKA, for many models against one reference.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np

from stages.geometry.dimension import DimensionError, Neighbours, neighbours
from stages.geometry.pairwise import NeighbourLists, neighbour_lists_in_subsets, subset_masks
from stages.geometry.registry import CANDIDATES, SIDES, ActivationMeasure, MeasureVariant, surface_null
from stages.geometry.resampling import SubsetSpectra, factorise_subsets
from stages.geometry.similarity import squared_distances
from stages.geometry.spectrum import Spectrum, effective_rank, factorise
from stages.statistics.ceiling import LEAST_ROOM, adjusted_index, noise_ceiling
from stages.statistics.half_sampling import PAIRS

# The first two halves of a partition, which are complementary: enough for measures that are expensive on a half.
COMPLEMENTARY = PAIRS[:2]
# Ways to mispair prompts behind the chance level of a measure of rows without a closed form.
PAIRINGS = 5
# Inputs of measures that are taken only where intervals are asked for, because they are expensive.
EXPENSIVE_INPUTS = ("surface", "neighbours", "rows", "distances")


class MeasurePlan(NamedTuple):
    """The measures, halves and chance levels that all sites of one task share."""

    measures: tuple[ActivationMeasure, ...]
    quarters: np.ndarray
    """(R, 4, q) rows of the partitions"""
    plain: int
    """partitions used where no interval is asked for"""
    chance: dict[tuple[str, int], float]
    """value without structure, by measure and k (0 where there is none)"""
    nulls: dict[bool, Spectrum]
    """isotropic spectra, by centring"""
    confidence: float
    topology: tuple[int, int] | None = None
    """points and null draws of the clusters and loops, if these are measured"""
    legacy: bool = True
    """whether the prior study's formulas are computed too"""


class Clouds:
    """The activations ``y`` (n, d) of a model and ``x`` of its reference, for one centring; equal arrays are one cloud.

    ``stored``: the model's, in the dimensions in which they were collected; ``x`` and ``y`` may be rotated
    into fewer (`joint_rows`).
    """

    def __init__(
        self, x: np.ndarray, y: np.ndarray, stored: np.ndarray, plan: MeasurePlan, centred: bool, with_interval: bool
    ) -> None:
        self.x, self.y, self.stored, self.plan, self.centred = x, y, stored, plan, centred
        self.distinct = (x,) if x is y else (x, y)
        self.quarters = plan.quarters if with_interval else plan.quarters[: plan.plain]
        ks = {
            v.k for m in plan.measures if m.input in ("bases", "captured") for v in m.variants if v.centred == centred
        }
        self.ks = sorted(k for k in ks if not self.too_many(k))
        self._scores: dict[str, _BasisScores] = {}

    @cached_property
    def whole(self) -> list[Spectrum]:
        return [factorise(z, self.centred, max(self.ks, default=0)) for z in self.distinct]

    @cached_property
    def parts(self) -> list[SubsetSpectra]:
        k = max(self.ks, default=0)
        return [
            factorise_subsets(z, self.quarters, PAIRS, self.centred, k, every_pair=z is self.y) for z in self.distinct
        ]

    @cached_property
    def squared(self) -> tuple[np.ndarray, np.ndarray]:
        """Squared distances (n, n) between prompts, of reference and model."""
        matrices = [squared_distances(z) for z in self.distinct]
        return matrices[0], matrices[-1]

    @cached_property
    def masks(self) -> np.ndarray:
        return subset_masks(self.quarters, COMPLEMENTARY, len(self.y))

    @cached_property
    def nearest(self) -> Neighbours:
        return neighbours(self.y, min(CANDIDATES, len(self.y) - 1))

    @cached_property
    def captured(self) -> _CapturedVariance:
        return _CapturedVariance(self)

    def scores(self, measure: ActivationMeasure) -> _BasisScores:
        if measure.name not in self._scores:
            self._scores[measure.name] = _BasisScores(self, measure)
        return self._scores[measure.name]

    def too_many(self, k: int) -> str:
        """Return why ``k`` directions cannot be compared, or nothing."""
        most = min(self.quarters.shape[2] - 1, self.y.shape[1])
        return (
            f"k = {k} is above {most}, the most that a quarter of {len(self.y)} prompts in {self.y.shape[1]} dimensions can hold"
            if k > most
            else ""
        )


def evaluate_variant(measure: ActivationMeasure, variant: MeasureVariant, clouds: Clouds) -> dict:
    """Return what the record of one variant holds, as far as the measure has it, or the reason why it is `missing`.

    Keys: value, null, resample_baseline, ceiling, index, note, replicates (by quantity), rarefaction (by size).
    """
    row = EVALUATORS[measure.input](measure, variant, clouds)
    if not row.get("missing") and np.isnan(row["value"]):
        row["missing"] = measure.undefined
    return row


def _spectrum(measure: ActivationMeasure, variant: MeasureVariant, clouds: Clouds) -> dict:
    """Return value, mean value at n / 2, and value of noise; the measures work on stacks, so that rarefaction is free."""
    parts, null = clouds.parts[-1], clouds.plan.nulls[clouds.centred]
    value, halves = float(variant.function(clouds.whole[-1])), variant.function(parts.pairs)  # (R, pairs)
    quarter, half = clouds.quarters.shape[2], 2 * clouds.quarters.shape[2]
    sizes = {quarter: variant.function(parts.quarters), half: halves, len(clouds.y): np.array(value)}
    return {
        "value": value,
        "null": float(variant.function(null).mean()),
        "resample_baseline": float(halves.mean()),
        "replicates": {"value": halves.ravel()},
        "rarefaction": sizes,
    }


def _cloud(measure: ActivationMeasure, variant: MeasureVariant, clouds: Clouds) -> dict:
    """Return value, mean value at n / 2, and value of noise, of a measure that reads the rows themselves."""
    y = clouds.y if "common_rotation" in measure.invariances else clouds.stored
    halves = np.array([variant.function(y[part[[a, b]].ravel()]) for part in clouds.quarters for a, b in PAIRS])
    return {
        "value": float(variant.function(y)),
        "null": clouds.plan.chance[measure.name, 0],
        "resample_baseline": float(halves.mean()),
        "replicates": {"value": halves},
    }


def _surface(measure: ActivationMeasure, variant: MeasureVariant, clouds: Clouds) -> dict:
    """Return value, value of a cloud of the same covariance, and mean value of two halves: too expensive for an interval."""
    halves = [clouds.y[clouds.quarters[0][list(pair)].ravel()] for pair in COMPLEMENTARY]
    try:
        return {
            "value": float(variant.function(clouds.y)),
            "null": surface_null(clouds.y),
            "resample_baseline": float(np.mean([variant.function(half) for half in halves])),
        }
    except ValueError as error:  # too few prompts for the fit
        return {"missing": str(error)}


def _neighbours(measure: ActivationMeasure, variant: MeasureVariant, clouds: Clouds) -> dict:
    """Return value, value of isotropic noise, and values of halves, whose neighbours are read from the search of the whole."""
    try:
        cloud = clouds.nearest
        value = float(variant.function(cloud))
    except DimensionError as error:
        return {"missing": str(error)}
    notes = [f"{cloud.duplicates} coinciding prompts left out"] if cloud.duplicates else []
    half_size = 2 * clouds.quarters.shape[2]
    try:
        halves = _dimensions_of_halves(variant, clouds)
    except ValueError as error:  # n prompts suffice, n / 2 do not
        return {"value": value, "null": clouds.plan.chance[measure.name, variant.k], "note": f"no halves: {error}"}
    return {
        "value": value,
        "null": clouds.plan.chance[measure.name, variant.k],
        "resample_baseline": float(halves.mean()),
        "note": "; ".join(notes),
        "replicates": {"value": halves} if variant.subsets else None,
        "rarefaction": {half_size: halves, len(clouds.y): np.array(value)},
    }


def _dimensions_of_halves(variant: MeasureVariant, clouds: Clouds) -> np.ndarray:
    """Return the dimension of all halves where the neighbours suffice; of two where each must be searched anew."""
    if variant.subsets is None:
        rows = [clouds.quarters[0][list(pair)].ravel() for pair in COMPLEMENTARY]
        return np.array([variant.function(neighbours(clouds.y[half], variant.k)) for half in rows])
    cloud = clouds.nearest
    lists = NeighbourLists(cloud.indices, cloud.distances)
    inside = neighbour_lists_in_subsets(lists, clouds.masks[:, cloud.rows], variant.k)
    return np.array([variant.subsets(half_neighbours.distances) for half_neighbours in inside])


def _bases(measure: ActivationMeasure, variant: MeasureVariant, clouds: Clouds) -> dict:
    if reason := clouds.too_many(variant.k):
        return {"missing": reason}
    row = clouds.scores(measure).row(variant, clouds.plan.chance[measure.name, variant.k])
    if "legacy" in variant.name:  # its k depends on n and d, so that its name cannot say it
        row["note"] = "; ".join([f"k = {variant.k}", *filter(None, [row.get("note")])])
    return row


def _captured(measure: ActivationMeasure, variant: MeasureVariant, clouds: Clouds) -> dict:
    if reason := clouds.too_many(variant.k):
        return {"missing": reason}
    return clouds.captured.row(variant, clouds.plan.chance[measure.name, variant.k])


def _rows(measure: ActivationMeasure, variant: MeasureVariant, clouds: Clouds) -> dict:
    halves = variant.subsets(clouds.x, clouds.y, clouds.quarters, PAIRS[: measure.halves])  # (R, halves)
    null = clouds.plan.chance.get((measure.name, 0))
    if null is None:
        order = clouds.quarters[0].ravel()  # random
        mixed = [variant.function(clouds.x[order], clouds.y[np.roll(order, i + 1)]) for i in range(PAIRINGS)]
        null = float(np.mean(mixed))
    return _paired_row(measure, float(variant.function(clouds.x, clouds.y)), null, halves.ravel())


def _distances(measure: ActivationMeasure, variant: MeasureVariant, clouds: Clouds) -> dict:
    first = slice(measure.most)
    squared = [z[first, first] for z in clouds.squared]
    try:
        halves = variant.subsets(*squared, clouds.masks[:, first])  # (B,)
        value = float(variant.function(*squared))
    except ValueError as error:  # fewer prompts than neighbours, or half of them coincide
        return {"missing": str(error)}
    return _paired_row(measure, value, clouds.plan.chance[measure.name, 0], halves) | {"n": len(squared[0])}


def _paired_row(measure: ActivationMeasure, value: float, null: float, halves: np.ndarray) -> dict:
    """Return the row of a score of the same prompts: what a model scores against itself is the ceiling, without noise."""
    ceiling = measure.best
    return {
        "value": value,
        "null": null,
        "resample_baseline": float(halves.mean()),
        "ceiling": ceiling,
        "index": (value - null) / (ceiling - null),
        "replicates": {"value": halves, "index": (halves - null) / (ceiling - null)},
    }


# Input of a measure (`ActivationMeasure.input`): the function that makes its row.
EVALUATORS: dict[str, Callable[[ActivationMeasure, MeasureVariant, Clouds], dict]] = {
    "spectrum": _spectrum,
    "cloud": _cloud,
    "surface": _surface,
    "neighbours": _neighbours,
    "bases": _bases,
    "captured": _captured,
    "rows": _rows,
    "distances": _distances,
}


class _BasisScores:
    """One score between the bases of reference and model for all k, on all prompts and between subsets of them.

    The index is estimated from the two complementary halves of each partition, averaged over partitions; its
    replicate on a half compares the two quarters of that half. One split against an average of many: the
    replicate varies more than the estimate on as many prompts would, and the interval errs on the wide side.
    """

    def __init__(self, clouds: Clouds, measure: ActivationMeasure) -> None:
        self.ks, self.best, self.bases = clouds.ks, measure.best, [spectrum.basis for spectrum in clouds.whole]
        self.effective = min(float(effective_rank(spectrum, eigen=True)) for spectrum in clouds.whole)
        halves = [part.halves.basis for part in clouds.parts]  # (R, 2, d, k)
        quarters = [part.quarters.basis for part in clouds.parts]  # (R, 4, d, k)
        sweep = measure.sweep
        self.same_halves = sweep(halves[0], halves[-1], self.ks)  # (ks, R, 2)
        self.between_halves = _pair_scores(halves, (0, 1), self.ks, sweep)  # each (ks, R)
        pairs = [_pair_scores(quarters, pair, self.ks, sweep) for pair in PAIRS]  # views: no pair of bases is copied
        self.between_quarters = [
            np.stack(scores, axis=-1) for scores in zip(*pairs, strict=True)
        ]  # each (ks, R, pairs)

    def row(self, variant: MeasureVariant, level: float) -> dict:
        i, k = self.ks.index(variant.k), variant.k
        cross, ceiling, baseline = (score[i].mean() for score in self.between_halves)
        notes = [_noise_note(k, self.effective)]
        index = float(adjusted_index(cross, ceiling, level, self.best))
        if np.isnan(index):
            notes.append(_no_room_note(ceiling))
        cross_half, ceiling_half, _ = (score[i] for score in self.between_quarters)
        return {
            "value": float(variant.function(*(basis[:, :k] for basis in (self.bases[0], self.bases[-1])))),
            "null": level,
            "resample_baseline": float(baseline),
            "ceiling": float(ceiling),
            "index": index,
            "note": "; ".join(filter(None, notes)),
            "replicates": {
                "value": self.same_halves[i].ravel(),
                "index": adjusted_index(cross_half, ceiling_half, level, self.best).ravel(),
            },
        }


def _noise_note(k: int, effective: float) -> str:
    return (
        "" if k <= effective else f"k above the effective rank {effective:.1f} (eigen): the last directions are noise"
    )


def _no_room_note(ceiling: float) -> str:
    return f"no index: the noise ceiling {ceiling:.3f} is within {LEAST_ROOM:.0%} of chance"


def _pair_scores(
    bases: Sequence[np.ndarray], pair: tuple[int, int], ks: list[int], sweep: Callable
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return cross score, noise ceiling and within-reference score between the two subsets of ``pair``: (ks, R) each.

    ``bases`` (R, subsets, d, k): those of the reference, and of the model unless it is the reference.
    """
    reference, model = ([basis[:, side] for side in pair] for basis in (bases[0], bases[-1]))
    cross = (sweep(reference[0], model[1], ks) + sweep(reference[1], model[0], ks)) / 2
    within_reference = sweep(*reference, ks)
    return cross, noise_ceiling(within_reference, sweep(*model, ks)), within_reference


class _CapturedVariance:
    """Captured variance between reference and model for all k, on all prompts and between subsets, as in `_BasisScores`.

    Side 0 is the reference, side -1 the model; the variance is that of one side, the subspace the other's.
    """

    def __init__(self, clouds: Clouds) -> None:
        self.ks, self.whole = clouds.ks, clouds.whole
        self.effective = min(float(effective_rank(spectrum, eigen=True)) for spectrum in clouds.whole)
        self.rows = [z - z.mean(axis=0) if clouds.centred else z for z in clouds.distinct]
        halves = clouds.quarters[:, [list(pair) for pair in COMPLEMENTARY]].reshape(len(clouds.quarters), 2, -1)
        self.halves, self.quarters = (
            [_SideSubsets(z, subsets, spectrum, clouds.centred) for z, spectrum in zip(self.rows, spectra, strict=True)]
            for subsets, spectra in (
                (halves, [part.halves for part in clouds.parts]),
                (clouds.quarters, [part.quarters for part in clouds.parts]),
            )
        )
        first, second = np.array(PAIRS).T
        pairs_both_ways = np.concatenate([first, second]), np.concatenate([second, first])
        halves_both_ways = np.array([0, 1]), np.array([1, 0])
        same = np.array([0, 1]), np.array([0, 1])
        sides = (0, -1)
        self.between_halves = {side: self._scores(self.halves, halves_both_ways, side) for side in sides}
        self.between_quarters = {side: self._scores(self.quarters, pairs_both_ways, side) for side in sides}
        self.same_halves = {
            side: self.halves[side].captured(self.halves[-1 - side].basis, *same, self.ks) for side in sides
        }

    def row(self, variant: MeasureVariant, share: float) -> dict:
        """Return the row of one variant; a random subspace holds ``share`` of the space.

        The width of the rows does not tell that share: they may be rotated into fewer dimensions (`joint_rows`).
        """
        i, k = self.ks.index(variant.k), variant.k
        side = 0 if SIDES[0] in variant.name else -1
        basis, opposite_basis = self.whole[side].basis[:, :k], self.whole[-1 - side].basis[:, :k]
        x = self.rows[side]
        cross, within_side, within_opposite = (score[i].mean() for score in self.between_halves[side])
        ceiling = noise_ceiling(within_side, within_opposite)
        index = float(adjusted_index(cross, ceiling, share * self.halves[side].inverse_share(k)))
        notes = [_noise_note(k, self.effective), _no_room_note(ceiling) if np.isnan(index) else ""]
        # a half's two quarters, each way round
        pairs = [score[i].reshape(len(score[i]), 2, -1).mean(axis=1) for score in self.between_quarters[side]]
        quarter_chance = share * self.quarters[side].inverse_share(k)
        return {
            "value": variant.function(x, basis, opposite_basis),
            "null": share * float(np.square(x).sum() / np.square(x @ basis).sum()),
            "resample_baseline": float(within_side),
            "ceiling": float(ceiling),
            "index": index,
            "note": "; ".join(filter(None, notes)),
            "replicates": {
                "value": self.same_halves[side][i].ravel(),
                "index": adjusted_index(pairs[0], noise_ceiling(*pairs[1:]), quarter_chance).ravel(),
            },
        }

    def _scores(self, sides: list[_SideSubsets], pairs: tuple[np.ndarray, np.ndarray], side: int) -> list[np.ndarray]:
        """Return three captured variances between the subsets of each pair, (ks, R, pairs) each.

        The first is that of ``side`` inside the opposite side's basis; the others are within each of the two sides.
        """
        subsets, opposite = sides[side], sides[-1 - side]
        return [
            subsets.captured(opposite.basis, *pairs, self.ks),
            subsets.captured(subsets.basis, *pairs, self.ks),
            opposite.captured(opposite.basis, *pairs, self.ks),
        ]


class _SideSubsets:
    """Subsets of one cloud: their rows, leading bases, and the variance inside these."""

    def __init__(self, x: np.ndarray, subsets: np.ndarray, spectra: Spectrum, centred: bool) -> None:
        self.x, self.subsets, self.basis, self.centred = x, subsets, spectra.basis, centred
        self.inside = np.cumsum(np.square(spectra.s), axis=-1)  # (R, subsets, r)

    def inverse_share(self, k: int) -> float:
        """Return the mean over subsets of all variance over that inside the k leading directions."""
        return float((self.inside[..., -1] / self.inside[..., k - 1]).mean())

    def captured(
        self, bases: np.ndarray, subset_indices: np.ndarray, basis_indices: np.ndarray, ks: Sequence[int]
    ) -> np.ndarray:
        """Return the variance of each subset of the pairs inside the paired leading ``bases`` (R, subsets, d, k).

        ``subset_indices`` (pairs,) are subsets of this cloud, ``basis_indices`` (pairs,) those of ``bases``. The result
        (ks, R, pairs) is over the variance inside the subset's own leading directions.
        """
        last = np.array(ks) - 1
        shares = np.empty((len(ks), len(self.subsets), len(subset_indices)))
        for r, rows in enumerate(self.subsets):
            for i in np.unique(subset_indices):
                x = self.x[rows[i]]
                x = x - x.mean(axis=0) if self.centred else x
                for p in np.flatnonzero(subset_indices == i):
                    captured = np.cumsum(np.square(x @ bases[r, basis_indices[p]]).sum(axis=0))  # (k,)
                    shares[:, r, p] = captured[last] / self.inside[r, i, last]
        return shares
