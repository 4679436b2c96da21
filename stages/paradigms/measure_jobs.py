"""The jobs of `measure` for one model: one for each site and layer, and one for each site over its layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from stages.activations.store import read_site
from stages.paradigms.comparability import comparable_header
from stages.paradigms.layer_records import LayerRecords, measure_layers
from stages.paradigms.params import MeasureParams
from stages.paradigms.record_tables import Location
from stages.paradigms.site_records import MeasurePlan, SiteRecords, hypothesis_plan, measure_plan, measure_site
from stages.statistics.half_sampling import partitions_for, quarters

Job = tuple[Location, Callable[[], SiteRecords | LayerRecords]]


def measure_jobs(task: str, paths: Sequence[Path], params: MeasureParams) -> list[Job]:
    """Return the jobs of one task, from the activations (reference, model); both are opened before anything is computed."""
    header = comparable_header(paths, params.unlike, params.headline_k)
    n, d = len(header.prompt_ids), header.d_model
    parts = quarters(n, partitions_for(params.half_samples), params.seed, task)
    full = measure_plan(n, d, params, parts, partitions_for(params.plain_half_samples))
    reduced, layers = hypothesis_plan(full), header.n_layers
    jobs: list[Job] = []
    for site in header.sites:
        with_interval = site in params.interval_sites
        positions = [(params.aggregation, full), *((name, reduced) for name in params.positions if with_interval)]
        for position, plan in positions:
            locations = [Location(task, position, site, layer) for layer in range(layers)]
            jobs += [
                (location, partial(_read_and_measure, paths, location, plan, with_interval)) for location in locations
            ]
        if with_interval:
            location = Location(task, params.aggregation, site, -1)
            read = partial(read_site, paths[1], params.aggregation, site)
            jobs.append((location, partial(measure_layers, read, layers, params.confidence, params.seed)))
    return jobs


def _read_and_measure(paths: Sequence[Path], location: Location, plan: MeasurePlan, with_interval: bool) -> SiteRecords:
    """Read one site of both models and measure it."""
    x = y = read_site(paths[0], location.aggregation, location.site, location.layer)
    if paths[1] != paths[0]:
        y = read_site(paths[1], location.aggregation, location.site, location.layer)
    return measure_site(x, y, plan, location.aggregation, with_interval)
