"""Measure how clouds of tokens move between layers, from reference to model, and along training: python -m stages.drift.measure.

The environment variable JOBS says how many tasks of models are worked on at a time; it changes no result.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

from joblib import Parallel, delayed
from tqdm import tqdm

from stages.drift.comparisons import Subject, measure_task
from stages.drift.metrics import summarise
from stages.drift.params import Drift, load_scope, load_unlike
from stages.drift.samples import paired
from stages.drift.subjects import subjects_of
from stages.drift.tables import COLUMNS, DRIFT_TABLES, typed
from stages.shared.command import run_stage
from stages.shared.figure_style import save_table
from stages.shared.files import write_json
from stages.shared.params import load

# Without it POT loads torch, seconds for each worker.
os.environ.setdefault("POT_BACKEND_DISABLE_PYTORCH", "1")
SAMPLES, RECORDS = Path("data/drift/samples"), Path("data/drift/records")
METRICS, TABLES = Path("metrics/drift.json"), Path("plots/drift")


def main() -> None:
    params, scope = load("drift", Drift), load_scope()
    unlike = load_unlike()
    subjects = [comparable(subject, scope.tasks, unlike) for subject in subjects_of(params, scope)]
    jobs = [(subject, task) for subject in subjects for task in scope.tasks]
    workers = int(os.environ.get("JOBS", os.cpu_count() or 1))
    measured = Parallel(workers, return_as="generator")(delayed(measure_task)(*job, SAMPLES, params) for job in jobs)
    found = list(tqdm(measured, total=len(jobs), desc="drift", unit="task of a model", mininterval=5))
    tables = {name: typed(name, [row for one in found for row in one[name]]) for name in COLUMNS}
    metrics, of_lines = summarise(tables, subjects, params)
    DRIFT_TABLES.write(RECORDS, tables)
    for name, table in of_lines.items():
        save_table(table, TABLES / f"{name}.csv")
    write_json(METRICS, metrics)
    logging.info("%d models on %d tasks: %d distances", len(subjects), len(scope.tasks), len(tables["records"]))


def comparable(subject: Subject, tasks: list[str], unlike: list[str]) -> Subject:
    """The subject; without a reference where `measure.unlike` allows both to read prompts of other formats."""
    if paired(*(SAMPLES / f"{name}.h5" for name in (subject.reference, subject.model)), tasks, unlike):
        return subject
    logging.warning("%s reads other tokens than %s: not compared with it", subject.model, subject.reference)
    return subject._replace(reference=subject.model)


if __name__ == "__main__":
    run_stage(main, __doc__)
