"""Measure one model's activations against its reference's: python -m stages.measure MODEL REFERENCE."""

from __future__ import annotations

import argparse
import logging
import os
from pathlib import Path

from joblib import Parallel, delayed

from stages.geometry.linear_algebra import use
from stages.params.loading import load
from stages.params.measure import Measure
from stages.params.study import Study, all_tasks
from stages.records.depth import Depth
from stages.records.files import write_json
from stages.records.headline import headline
from stages.records.jobs import jobs_of
from stages.records.site import Site
from stages.records.table import write
from stages.records.tidy import tables

ACTIVATIONS, RECORDS, METRICS = Path("data/activations"), Path("data/records"), Path("metrics/measure")


def main(model: str, reference: str) -> None:
    use(os.environ.get("DEVICE") or "cpu")
    params, tasks = load("measure", Measure), all_tasks(load("study", Study))
    jobs = [
        job
        for task in tasks
        for job in jobs_of(task, [ACTIVATIONS / name / f"{task}.h5" for name in (reference, model)], params)
    ]
    # Threads: the time goes to LAPACK, which releases the interpreter's lock; a process would import everything again.
    # Each job is seeded by its task and the results keep the order of the jobs, so their number changes no byte.
    workers = int(os.environ.get("JOBS", os.cpu_count() or 1))
    found = Parallel(n_jobs=workers, prefer="threads")(delayed(job)() for _, job in jobs)
    measured = [(place, result) for (place, _), result in zip(jobs, found, strict=True)]
    sites, depths = ([pair for pair in measured if isinstance(pair[1], kind)] for kind in (Site, Depth))
    content = tables(model, reference, sites, depths)
    write(RECORDS / model, content)
    write_json(METRICS / f"{model}.json", headline(content["records"], params))
    logging.info("%s against %s: %d records of %d sites", model, reference, len(content["records"]), len(sites))


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("reference")
    main(**vars(parser.parse_args()))
