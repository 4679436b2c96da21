"""Measure one model's activations against its reference's: python -m stages.paradigms.measure MODEL REFERENCE."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from joblib import Parallel, delayed

from stages.geometry.linear_algebra import use
from stages.paradigms.jobs import jobs_of
from stages.paradigms.layer_records import Depth
from stages.paradigms.metrics import headline
from stages.paradigms.params import Measure
from stages.paradigms.record_tables import tables
from stages.paradigms.site_records import Site
from stages.paradigms.tables import RECORD_TABLES
from stages.shared.command import run_stage
from stages.shared.files import write_json
from stages.shared.params import load
from stages.shared.study import Study, all_tasks

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
    RECORD_TABLES.write(RECORDS / model, content)
    write_json(METRICS / f"{model}.json", headline(content["records"], params))
    logging.info("%s against %s: %d records of %d sites", model, reference, len(content["records"]), len(sites))


if __name__ == "__main__":
    run_stage(main, __doc__)
