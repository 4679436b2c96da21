"""Measure one model's activations against its reference's: python -m stages.paradigms.measure MODEL REFERENCE."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from joblib import Parallel, delayed

from stages.geometry.linear_algebra import use
from stages.paradigms.layer_records import LayerRecords
from stages.paradigms.measure_jobs import measure_jobs
from stages.paradigms.metrics import measure_metrics
from stages.paradigms.params import MeasureParams
from stages.paradigms.record_tables import record_tables
from stages.paradigms.site_records import SiteRecords
from stages.paradigms.tables import RECORD_TABLES
from stages.shared.cells import model_and_reference
from stages.shared.command import run_stage
from stages.shared.files import write_json
from stages.shared.params import load
from stages.shared.study import Study, all_tasks
from stages.shared.workers import worker_count

ACTIVATIONS, RECORDS, METRICS = Path("data/activations"), Path("data/records"), Path("metrics/measure")


def main(model: str, reference: str) -> None:
    """Run the jobs of every task in parallel; write the tables of ``model`` and its metrics."""
    use(os.environ.get("DEVICE") or "cpu")
    params, tasks = load("measure", MeasureParams), all_tasks(load("study", Study))
    jobs = [
        job
        for task in tasks
        for job in measure_jobs(task, [ACTIVATIONS / name / f"{task}.h5" for name in (reference, model)], params)
    ]
    # Threads: the time goes to LAPACK, which releases the interpreter's lock; a process would import everything again.
    # Each job is seeded by its task and the results keep the order of the jobs, so their number changes no byte.
    workers = worker_count()
    results = Parallel(n_jobs=workers, prefer="threads")(delayed(job)() for _, job in jobs)
    located = [(location, result) for (location, _), result in zip(jobs, results, strict=True)]
    sites, layers = ([pair for pair in located if isinstance(pair[1], type_)] for type_ in (SiteRecords, LayerRecords))
    content = record_tables(model, reference, sites, layers)
    RECORD_TABLES.write(RECORDS / model, content)
    write_json(METRICS / f"{model}.json", measure_metrics(content["records"], params))
    logging.info("%s against %s: %d records of %d sites", model, reference, len(content["records"]), len(sites))


if __name__ == "__main__":
    run_stage(main, __doc__, model_and_reference("study.models"))
