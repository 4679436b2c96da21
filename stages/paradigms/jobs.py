"""What there is to measure of one model: a job for each site and layer, and one for each site over its layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from stages.activations.store import read_site
from stages.paradigms.layer_records import Depth, measure_depth
from stages.paradigms.measured_files import comparable_header
from stages.paradigms.params import Measure
from stages.paradigms.record_tables import Place
from stages.paradigms.site_records import Plan, Site, measure_site, only_stored, plan
from stages.statistics.half_sampling import partitions_for, quarters

Job = tuple[Place, Callable[[], Site | Depth]]


def jobs_of(task: str, paths: Sequence[Path], params: Measure) -> list[Job]:
    """Jobs of one task, from the activations (reference, model); both files are opened before anything is computed."""
    header = comparable_header(paths, params.unlike, params.headline_k)
    n, d = len(header.prompt_ids), header.d_model
    parts = quarters(n, partitions_for(params.half_samples), params.seed, task)
    whole = plan(n, d, params, parts, partitions_for(params.plain_half_samples))
    stored, layers = only_stored(whole), header.n_layers
    jobs: list[Job] = []
    for site in header.sites:
        exact = site in params.interval_sites
        positions = [(params.aggregation, whole), *((name, stored) for name in params.positions if exact)]
        for position, of_position in positions:
            places = [Place(task, position, site, layer) for layer in range(layers)]
            jobs += [(place, partial(_measured, paths, place, of_position, exact)) for place in places]
        if exact:
            place = Place(task, params.aggregation, site, -1)
            read = partial(read_site, paths[1], params.aggregation, site)
            jobs.append((place, partial(measure_depth, read, layers, params.confidence, params.seed)))
    return jobs


def _measured(paths: Sequence[Path], place: Place, of_position: Plan, exact: bool) -> Site:
    """Read one site of both models and measure it."""
    x = y = read_site(paths[0], place.aggregation, place.site, place.layer)
    if paths[1] != paths[0]:
        y = read_site(paths[1], place.aggregation, place.site, place.layer)
    return measure_site(x, y, of_position, place.aggregation, exact)
