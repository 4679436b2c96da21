"""All measures of one site: a model's activations against its reference's, on one set of prompts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from stages.geometry.chance import isotropic_spectrum, noise_eigenvalues
from stages.geometry.registry import SIDES, Measure, Variant, catalogue
from stages.geometry.resampling import Subsets, cka_pairs, factorise_subsets, joint_rows
from stages.geometry.similarity import debiased_cka
from stages.geometry.spectrum import Spectrum, effective_rank, factorise
from stages.statistics.ceiling import LEAST_ROOM, adjusted_index, noise_ceiling
from stages.statistics.half_sampling import PAIRS, interval, standard_error

Sweep = Callable[[np.ndarray, np.ndarray, Sequence[int]], np.ndarray]
CONSTANT = 1e-10  # variance / mean square; rounding of float32 leaves 1e-14
STORED = {"effective_rank": ("value",), "preservation": ("value", "index"), "cka": ("value",)}
"""Quantities whose replicates are stored, from centred variants: what hypotheses may be about."""


class Plan(NamedTuple):
    """What is the same for all sites of one task."""

    measures: tuple[Measure, ...]
    quarters: np.ndarray
    """(R, 4, q) rows of the partitions"""
    plain: int
    """partitions used where no interval is asked for"""
    chance: dict[tuple[str, int], float]
    """value without structure, by measure and k (0 where there is none)"""
    nulls: dict[bool, Spectrum]
    """isotropic spectra, by centring"""
    confidence: float


class Site(NamedTuple):
    """Rows of the three tables, without the columns that are the same for the whole site."""

    records: list[dict]
    replicates: dict[tuple[str, str, str], np.ndarray]
    """(measure, variant, quantity): (B,)"""
    spectra: dict[str, tuple[np.ndarray, np.ndarray]]
    """variant: eigenvalues (r,) and those of noise (r,)"""


def plan(n: int, d: int, params, quarters: np.ndarray, plain: int) -> Plan:
    """``params`` is the group `measure`; chance levels depend on n, d and its seed only."""
    # The prior study's min(100, n, d) is all of a small space, where it can only be 1; n / 8: half of what a quarter can hold.
    legacy_k = max(1, min(params.legacy_k, n // 8, d // 4))
    ranges = [(ranks.first, ranks.last) for ranks in params.decay_ranks]
    measures = catalogue(params.ks, ranges, params.components_share, legacy_k, params.bands)
    levels = {
        (measure.name, variant.k): measure.chance(n, d, variant.k, params.nulls.subspaces, params.seed)
        for measure in measures
        if measure.chance
        for variant in measure.variants
    }
    nulls = {centred: isotropic_spectrum(n, d, centred, params.nulls.spectra, params.seed) for centred in (True, False)}
    return Plan(measures, quarters, plain, levels, nulls, params.confidence)


def measure_site(reference: np.ndarray, model: np.ndarray, plan: Plan, aggregation: str, with_interval: bool) -> Site:
    """Measure ``model`` (n, d) against ``reference`` (n, d), rows paired by prompt."""
    x = y = np.asarray(reference, np.float64)
    if model is not reference:
        x, y = joint_rows(x, np.asarray(model, np.float64))
    constant = {"the reference": is_constant(x), "the model": is_constant(y)}
    site = Site([], {}, {})
    if not any(constant.values()):
        for centred in (True, False):
            _measure(site, x, y, plan, centred, with_interval and centred)
        return site
    who = " and ".join(name for name, value in constant.items() if value)
    reason = f"constant by design: {aggregation} of {who} has no variance over the prompts"
    for measure in plan.measures:
        for variant in measure.variants:
            _add(site, measure, variant.name, len(y), missing=reason)
    return site


def is_constant(x: np.ndarray) -> bool:
    """No variance over prompts (n, d), as where every prompt ends in the same token."""
    return bool(x.var(axis=0).sum() <= CONSTANT * (x**2).sum(axis=1).mean())


def _measure(site: Site, x: np.ndarray, y: np.ndarray, plan: Plan, centred: bool, with_interval: bool) -> None:
    """Measures of one centring; one factorisation of each matrix serves them all."""
    quarters = plan.quarters if with_interval else plan.quarters[: plan.plain]
    variants = [(m, v) for m in plan.measures for v in m.variants if v.centred == centred]
    ks = sorted({v.k for _, v in variants if v.k})
    k = max((k for k in ks if _too_many(k, quarters, y) == ""), default=0)
    clouds = (x,) if x is y else (x, y)  # the reference against itself is factorised once
    whole = [factorise(z, centred, k) for z in clouds]
    parts = [factorise_subsets(z, quarters, PAIRS, centred, k, every_pair=z is y) for z in clouds]
    null = plan.nulls[centred]
    name = "centred" if centred else "raw"
    site.spectra[name] = (whole[-1].eigenvalues, noise_eigenvalues(null, whole[-1].eigenvalues.sum()))
    comparable = [k for k in ks if not _too_many(k, quarters, y)]
    scores = {m.name: _Scores(whole, parts, comparable, m.sweep) for m in plan.measures if m.sweep}
    shifted = [z - z.mean(axis=0) if centred else z for z in clouds]
    for measure, variant in variants:
        if measure.kind == "spectrum":
            row = _spectral(variant.function, whole[-1], parts[-1].pairs, null)
            row["missing"] = measure.undefined if np.isnan(row["value"]) else ""
        elif measure.kind == "cloud":
            row = _of_cloud(variant.function, y, quarters, plan.chance.get((measure.name, 0), np.nan))
            row["missing"] = measure.undefined if np.isnan(row["value"]) else ""
        elif variant.k and (reason := _too_many(variant.k, quarters, y)):
            row = {"missing": reason}
        elif measure.kind == "captured":
            of = 0 if SIDES[0] in variant.name else -1
            level = plan.chance[measure.name, variant.k]
            row = _captured(variant, shifted[of], whole[of], whole[-1 - of], parts[of], quarters[0], level)
        elif measure.kind == "bases" and not measure.sweep:
            bases = [part.halves.basis[0, :, :, : variant.k] for part in parts]  # (2, d, k) of the first partition
            row = {
                "value": variant.function(*(w.basis[:, : variant.k] for w in (whole[0], whole[-1]))),
                "null": plan.chance[measure.name, variant.k],
                "resample_baseline": variant.function(*bases[0]),
            }
        elif measure.kind == "bases":
            level = plan.chance[measure.name, variant.k]
            row = scores[measure.name].row(variant.k, level)
            if "legacy" in variant.name:  # its k depends on n and d, so that its name cannot say it
                row["note"] = "; ".join([f"k = {variant.k}", *filter(None, [row.get("note")])])
        elif measure.name == "cka":
            halves = cka_pairs(x, y, quarters, PAIRS)
            row = {
                "value": float(debiased_cka(x, y)),
                "null": 0.0,
                "resample_baseline": halves.mean(),
                "replicates": {"value": halves.ravel()},
            }
        elif with_interval:  # costly: at the sites that matter
            row = _paired(variant.function, x, y, quarters[0], plan.chance.get((measure.name, 0)))
        else:
            continue
        _add(site, measure, variant.name, len(y), plan.confidence if with_interval else None, **row)


def _too_many(k: int, quarters: np.ndarray, x: np.ndarray) -> str:
    """Why ``k`` directions cannot be compared, or nothing."""
    most = min(quarters.shape[2] - 1, x.shape[1])
    return (
        f"k = {k} is above {most}, the most that a quarter of {len(x)} prompts in {x.shape[1]} dimensions can hold"
        if k > most
        else ""
    )


def _spectral(function, spectrum: Spectrum, halves: Spectrum, null: Spectrum) -> dict:
    """Value, mean value at n / 2, and value of noise; the measures work on stacks."""
    replicates = function(halves)  # (R, pairs)
    return {
        "value": float(function(spectrum)),
        "null": float(function(null).mean()),
        "resample_baseline": float(replicates.mean()),
        "replicates": {"value": replicates.ravel()},
    }


def _of_cloud(function, x: np.ndarray, quarters: np.ndarray, null: float) -> dict:
    """Value, mean value at n / 2, and value of noise, of a measure that reads the rows themselves."""
    halves = np.array([function(x[np.concatenate([part[a], part[b]])]) for part in quarters for a, b in PAIRS])
    return {
        "value": float(function(x)),
        "null": null,
        "resample_baseline": float(halves.mean()),
        "replicates": {"value": halves},
    }


def _captured(
    variant: Variant, x: np.ndarray, own: Spectrum, other: Spectrum, parts: Subsets, quarters: np.ndarray, level: float
) -> dict:
    """Value, chance, and the value between the two halves of one partition of one model.

    ``level``: share of the whole space that a random subspace holds; the width of ``x`` does not tell it, because
    `joint_rows` narrows the clouds.
    """
    k = variant.k
    half = x[quarters[list(PAIRS[0])].ravel()]  # its own leading directions are those of the first half
    first, second = parts.halves.basis[0, :, :, :k]
    mine = own.basis[:, :k]
    return {
        "value": variant.function(x, mine, other.basis[:, :k]),
        "null": level * float(np.square(x).sum() / np.square(x @ mine).sum()),
        "resample_baseline": variant.function(half - variant.centred * half.mean(axis=0), first, second),
    }


def _paired(function, x: np.ndarray, y: np.ndarray, quarters: np.ndarray, null: float | None) -> dict:
    """Value, value of noise (``null``, or of mispaired prompts), and mean value of two halves at n / 2; no interval."""
    mixed = quarters.ravel()  # (4 q,) in random order
    halves = [quarters[[a, b]].ravel() for a, b in PAIRS[:2]]
    return {
        "value": function(x, y),
        "null": function(x[mixed], y[np.roll(mixed, 1)]) if null is None else null,
        "resample_baseline": float(np.mean([function(x[half], y[half]) for half in halves])),
    }


class _Scores:
    """A score of all k between the bases of reference and model, on all prompts and across subsets.

    The index is estimated from the two complementary halves of each partition, averaged over partitions; its
    replicate on a half compares the two quarters of that half. One split against an average of many: the
    replicate varies more than the estimate on as many prompts would, and the interval errs on the wide side.
    """

    def __init__(self, whole: Sequence[Spectrum], parts: Sequence[Subsets], ks: list[int], sweep: Sweep) -> None:
        self.position = {k: i for i, k in enumerate(ks)}
        self.effective = min(float(effective_rank(spectrum, eigen=True)) for spectrum in whole)
        if not ks:
            return
        first, second = np.array(PAIRS).T
        halves = [part.halves.basis for part in parts]  # (R, 2, d, k)
        quarters = [part.quarters.basis for part in parts]  # (R, 4, d, k)
        self.same = sweep(whole[0].basis, whole[-1].basis, ks)  # (ks,)
        self.same_halves = sweep(halves[0], halves[-1], ks)  # (ks, R, 2)
        self.across = _across([[h[:, side] for side in (0, 1)] for h in halves], ks, sweep)  # each (ks, R)
        self.within = _across(
            [[q[:, side] for side in (first, second)] for q in quarters], ks, sweep
        )  # each (ks, R, pairs)

    def row(self, k: int, level: float) -> dict:
        """Everything that the record of one k holds."""
        i = self.position[k]
        cross, ceiling, baseline = (score[i].mean() for score in self.across)
        index = float(adjusted_index(cross, ceiling, level))
        notes = (
            []
            if k <= self.effective
            else [f"k above the effective rank {self.effective:.1f} (eigen): the last directions are noise"]
        )
        if np.isnan(index):
            notes.append(f"no index: the noise ceiling {ceiling:.3f} is within {LEAST_ROOM} of chance")
        cross, ceiling, _ = (score[i] for score in self.within)
        return {
            "value": float(self.same[i]), "null": level, "resample_baseline": float(baseline),
            "ceiling": float(self.across[1][i].mean()), "index": index, "note": "; ".join(notes),
            "replicates": {"value": self.same_halves[i].ravel(), "index": adjusted_index(cross, ceiling, level).ravel()},
        }  # fmt: skip


def _across(
    bases: Sequence[Sequence[np.ndarray]], ks: list[int], sweep: Sweep
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cross score, noise ceiling and within-reference score between subsets 0 and 1: (ks, ...) each.

    ``bases``: those of the reference, and of the model unless it is the reference; (..., d, k) for each subset.
    """
    reference, model = bases[0], bases[-1]
    cross = (sweep(reference[0], model[1], ks) + sweep(reference[1], model[0], ks)) / 2
    within = sweep(*reference, ks)
    return cross, noise_ceiling(within, sweep(*model, ks)), within


def _add(
    site: Site,
    measure: Measure,
    variant: str,
    n: int,
    confidence: float | None = None,
    replicates: dict | None = None,
    **row,
) -> None:
    """Append one record, its intervals if ``confidence`` is given, and the replicates that are stored."""
    record = {"measure": measure.name, "variant": variant, "n": n, "missing": "", "note": "", **row}
    for quantity, prefix in (("value", ""), ("index", "index_")):
        estimate = record.setdefault(quantity, np.nan)
        error = low = high = np.nan
        if confidence is not None and quantity in (replicates or {}):
            error = standard_error(replicates[quantity], n)
            low, high = interval(estimate, error, confidence)
            if quantity in STORED.get(measure.name, ()):
                site.replicates[measure.name, variant, quantity] = replicates[quantity]
        record |= {f"{prefix}standard_error": error, f"{prefix}low": low, f"{prefix}high": high}
    for name in ("null", "resample_baseline", "ceiling"):
        record.setdefault(name, np.nan)
    site.records.append(record)
