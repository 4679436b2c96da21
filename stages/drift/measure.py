"""Measure how clouds of tokens move between layers, from reference to model, and along training.

Usage: python -m stages.drift.measure. The environment variable JOBS says how many tasks of models are worked on at a
time; it changes no result.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

from joblib import Parallel, delayed
from tqdm import tqdm

from stages.activations.params import load_unlike
from stages.drift.compared_models import ComparedModel, compared_models
from stages.drift.comparisons import measure_task
from stages.drift.metrics import summarise
from stages.drift.params import Drift, load_scope
from stages.drift.sample_files import have_same_tokens
from stages.drift.tables import COLUMNS, DRIFT_TABLES, typed
from stages.shared.command import run_stage
from stages.shared.figure_style import save_table
from stages.shared.files import write_json
from stages.shared.params import load
from stages.shared.workers import worker_count

# Without it POT loads torch, seconds for each worker.
os.environ.setdefault("POT_BACKEND_DISABLE_PYTORCH", "1")
SAMPLES, RECORDS = Path("data/drift/samples"), Path("data/drift/records")
METRICS, PLOTS = Path("metrics/drift.json"), Path("plots/drift")


def main() -> None:
    params, scope, unlike = load("drift", Drift), load_scope(), load_unlike()
    compared = [comparable(entry, scope.tasks, unlike) for entry in compared_models(params, scope)]
    jobs = [(entry, task) for entry in compared for task in scope.tasks]
    workers = worker_count()
    measured = Parallel(workers, return_as="generator")(delayed(measure_task)(*job, SAMPLES, params) for job in jobs)
    parts = list(tqdm(measured, total=len(jobs), desc="drift", unit="task of a model", mininterval=5))
    tables = {name: typed(name, [row for part in parts for row in part[name]]) for name in COLUMNS}
    metrics, summaries = summarise(tables, compared, params)
    DRIFT_TABLES.write(RECORDS, tables)
    for name, table in summaries.items():
        save_table(table, PLOTS / f"{name}.csv")
    write_json(METRICS, metrics)
    logging.info("%d models on %d tasks: %d distances", len(compared), len(scope.tasks), len(tables["records"]))


def comparable(entry: ComparedModel, tasks: list[str], unlike: list[str]) -> ComparedModel:
    """Return the model without a reference where `measure.unlike` allows both to read prompts of other formats."""
    if have_same_tokens(*(SAMPLES / f"{name}.h5" for name in (entry.reference, entry.model)), tasks, unlike):
        return entry
    logging.warning("%s reads other tokens than %s: not compared with it", entry.model, entry.reference)
    return entry._replace(reference=entry.model)


if __name__ == "__main__":
    run_stage(main, __doc__)
