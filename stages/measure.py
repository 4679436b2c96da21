"""Measure one model's activations against its reference's: python -m stages.measure MODEL REFERENCE."""

from __future__ import annotations

import argparse
import logging
import os
from pathlib import Path

from joblib import Parallel, delayed

from stages.activations.store import read_site
from stages.geometry.linear_algebra import use
from stages.params.loading import load
from stages.params.measure import Measure
from stages.params.study import Study, all_tasks
from stages.records.files import write_json
from stages.records.headline import headline
from stages.records.inputs import comparable_header
from stages.records.site import Plan, Site, measure_site, plan
from stages.records.table import write
from stages.records.tidy import tables
from stages.statistics.half_sampling import partitions_for, quarters

ACTIVATIONS, RECORDS, METRICS = Path("data/activations"), Path("data/records"), Path("metrics/measure")


def main(model: str, reference: str) -> None:
    use(os.environ.get("DEVICE") or "cpu")
    params = load("measure", Measure)
    jobs = [job for task in all_tasks(load("study", Study)) for job in jobs_of(task, model, reference, params)]
    # Threads: the time goes to LAPACK, which releases the interpreter's lock; a process would import everything again.
    # Each job is seeded by its task and the results keep the order of the jobs, so their number changes no byte.
    workers = int(os.environ.get("JOBS", os.cpu_count() or 1))
    sites = Parallel(n_jobs=workers, prefer="threads")(delayed(measured)(*job) for job in jobs)
    content = tables(model, reference, params.aggregation, sites)
    write(RECORDS / model, content)
    write_json(METRICS / f"{model}.json", headline(content["records"], params))
    logging.info("%s against %s: %d records of %d sites", model, reference, len(content["records"]), len(sites))


def jobs_of(task: str, model: str, reference: str, params: Measure) -> list[tuple]:
    """One job for each site and layer of a task; all files are opened before anything is computed."""
    paths = [ACTIVATIONS / name / f"{task}.h5" for name in (reference, model)]
    header = comparable_header(paths, params.unlike, params.headline_k)
    n, d = len(header.prompt_ids), header.d_model
    parts = quarters(n, partitions_for(params.half_samples), params.seed, task)
    task_plan = plan(n, d, params, parts, partitions_for(params.plain_half_samples))
    sites, layers = header.sites, range(header.n_layers)
    return [(paths, task, site, layer, task_plan, params) for site in sites for layer in layers]


def measured(
    paths: list[Path], task: str, site: str, layer: int, task_plan: Plan, params: Measure
) -> tuple[str, str, int, Site]:
    """Read one site of both models and measure it."""
    x = y = read_site(paths[0], params.aggregation, site, layer)
    if paths[1] != paths[0]:
        y = read_site(paths[1], params.aggregation, site, layer)
    return task, site, layer, measure_site(x, y, task_plan, params.aggregation, site in params.interval_sites)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("reference")
    main(**vars(parser.parse_args()))
