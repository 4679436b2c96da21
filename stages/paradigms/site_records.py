"""The records of one site: all measures of a model's activations against its reference's, on one set of prompts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from stages.geometry.chance import isotropic_neighbours, isotropic_spectrum, noise_eigenvalues
from stages.geometry.dimension import DimensionError
from stages.geometry.legacy import legacy_records
from stages.geometry.registry import CANDIDATES, ActivationMeasure, catalogue
from stages.geometry.resampling import joint_rows
from stages.paradigms.constancy import is_constant
from stages.paradigms.params import MeasureParams
from stages.paradigms.topology_records import measure_topology
from stages.paradigms.variant_records import EXPENSIVE_INPUTS, Clouds, MeasurePlan, evaluate_variant
from stages.statistics.half_sampling import half_sample_standard_error, interval

LEGACY_NOTE = "the prior study's formula, its flaws included (stages/geometry/legacy.py)"
# Twelve halves: each costs seconds.
TOPOLOGY_PARTITIONS = 2
# Columns of a record that a measure of one model does not have.
COMPARISON_COLUMNS = ("ceiling", "index", "index_standard_error", "index_low", "index_high")
# Quantities whose replicates are stored, from centred variants: what hypotheses may be about.
STORED = {"effective_rank": ("value",), "preservation": ("value", "index"), "cka": ("value",)}


class SiteRecords(NamedTuple):
    """The rows of the tables of one site, without the columns that are the same for the whole site."""

    records: list[dict]
    replicates: dict[tuple[str, str, str], np.ndarray]
    """(measure, variant, quantity): (B,)"""
    spectra: dict[str, tuple[np.ndarray, np.ndarray]]
    """variant: eigenvalues (r,) and those of noise (r,)"""
    rarefaction: list[dict]
    """measure, variant, n, and mean and standard deviation over random subsets of n prompts"""


def measure_plan(n: int, d: int, params: MeasureParams, quarters: np.ndarray, plain: int) -> MeasurePlan:
    """Return what is measured of activations (n, d), and its chance levels, which depend on n, d and the seed only.

    ``quarters`` (R, 4, q): rows of the partitions, of which the first ``plain`` serve where no interval is asked for.
    """
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
    topology = (params.topology.points, params.topology.draws) if params.topology else None
    levels |= _noise_dimensions(measures, n, d, params.seed)
    return MeasurePlan(measures, quarters, plain, levels, nulls, params.confidence, topology)


def _noise_dimensions(measures: Sequence[ActivationMeasure], n: int, d: int, seed: int) -> dict[tuple[str, int], float]:
    """Return what the estimates of dimension give for isotropic noise; NaN where n is too small for one."""
    levels = {}
    for measure in measures:
        for variant in measure.variants if measure.input == "neighbours" else ():
            try:
                noise = isotropic_neighbours(n, d, min(CANDIDATES, n - 1), seed)
                levels[measure.name, variant.k] = float(variant.function(noise))
            except DimensionError:
                levels[measure.name, variant.k] = np.nan
    return levels


def hypothesis_plan(plan: MeasurePlan) -> MeasurePlan:
    """Return the plan for further positions of the same texts: what hypotheses may be about, and nothing else."""
    measures = [
        measure._replace(variants=tuple(v for v in measure.variants if v.centred))
        for measure in plan.measures
        if measure.name in STORED
    ]
    return plan._replace(measures=tuple(measures), topology=None, legacy=False)


def measure_site(
    reference: np.ndarray, model: np.ndarray, plan: MeasurePlan, aggregation: str, with_interval: bool
) -> SiteRecords:
    """Measure ``model`` (n, d) against ``reference`` (n, d), rows paired by prompt.

    A site without variance over the prompts gives records that are missing, with the reason.
    """
    x = y = stored = np.asarray(reference, np.float64)
    if model is not reference:
        stored = np.asarray(model, np.float64)
        x, y = joint_rows(x, stored)
    constant = {"the reference": is_constant(x), "the model": is_constant(y)}
    site = SiteRecords([], {}, {}, [])
    if not any(constant.values()):
        for centred in (True, False):
            _measure(site, Clouds(x, y, stored, plan, centred, with_interval and centred), with_interval)
        if with_interval and plan.legacy:
            _add_legacy(site, np.asarray(reference, np.float64), stored)
        if with_interval and plan.topology:
            points, draws = plan.topology
            rows = measure_topology(stored, points, plan.quarters[:TOPOLOGY_PARTITIONS], draws, plan.confidence)
            site.records.extend({**dict.fromkeys(COMPARISON_COLUMNS, np.nan), **row} for row in rows)
        return site
    sides = " and ".join(name for name, value in constant.items() if value)
    cause = "constant by design" if all(constant.values()) else "collapsed, where the other side has variance"
    reason = f"{cause}: {aggregation} of {sides} has no variance over the prompts"
    for measure in plan.measures:
        for variant in measure.variants:
            _add(site, measure.name, variant.name, n=len(y), missing=reason)
    return site


def _measure(site: SiteRecords, clouds: Clouds, with_interval: bool) -> None:
    """Add the measures of one centring; one factorisation of each matrix serves them all."""
    plan, centred = clouds.plan, clouds.centred
    chosen = [(m, v) for m in plan.measures for v in m.variants if v.centred == centred]
    if not chosen:
        return
    eigenvalues = clouds.whole[-1].eigenvalues
    site.spectra["centred" if centred else "raw"] = (
        eigenvalues,
        noise_eigenvalues(plan.nulls[centred], eigenvalues.sum()),
    )
    confidence = plan.confidence if with_interval and centred else None
    for measure, variant in chosen:
        if with_interval or measure.input not in EXPENSIVE_INPUTS:  # costly: at the sites that matter
            row = evaluate_variant(measure, variant, clouds)
            # some measures read the first prompts only, and say how many
            _add(site, measure.name, variant.name, confidence, **{"n": len(clouds.y), **row})


def _add_legacy(site: SiteRecords, x: np.ndarray, y: np.ndarray) -> None:
    """Add the prior study's formulas on raw activations (n, d): bare numbers, for comparison with its own."""
    for measure, value in legacy_records(x, y).items():
        _add(site, measure, "raw", n=len(y), value=value, note=LEGACY_NOTE)


def _add(
    site: SiteRecords,
    measure: str,
    variant: str,
    confidence: float | None = None,
    *,
    n: int,
    replicates: dict | None = None,
    rarefaction: dict | None = None,
    **row,
) -> None:
    """Append one record, its intervals if ``confidence`` is given, and the replicates that are stored.

    Parameters: the keys of a record that not every measure has are passed by name.
    """
    record = {"measure": measure, "variant": variant, "n": n, "missing": "", "note": "", **row}
    for quantity, prefix in (("value", ""), ("index", "index_")):
        estimate = record.setdefault(quantity, np.nan)
        error = low = high = np.nan
        if confidence is not None and quantity in (replicates or {}):
            error = half_sample_standard_error(replicates[quantity], n)
            low, high = interval(estimate, error, confidence)
            if quantity in STORED.get(measure, ()):
                site.replicates[measure, variant, quantity] = replicates[quantity]
        record |= {f"{prefix}standard_error": error, f"{prefix}low": low, f"{prefix}high": high}
    for name in ("null", "resample_baseline", "ceiling"):
        record.setdefault(name, np.nan)
    site.records.append(record)
    if confidence is not None:
        site.rarefaction.extend(
            {"measure": measure, "variant": variant, "n": size, "value": np.mean(values), "sd": np.std(values)}
            for size, values in (rarefaction or {}).items()
        )
