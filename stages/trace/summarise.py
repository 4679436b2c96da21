"""Summarise phases of pretraining, directions of post-training, and what was memorised: python -m stages.trace.summarise."""

from __future__ import annotations

import logging
from pathlib import Path

from stages.shared.command import run_stage
from stages.shared.figure_style import save_table
from stages.shared.files import write_json
from stages.shared.params import load
from stages.trace.lineage import read_courses
from stages.trace.metrics import summarise
from stages.trace.params import Ngrams, PhaseParams, Seeds, Trace, recipe_parents

METRICS, TABLES = Path("metrics/trace.json"), Path("plots/trace")
TRACES, NGRAMS = Path("data/trace/runs"), Path("data/trace/ngrams")


def main() -> None:
    trace, params = load("trace", Trace), load("phases", PhaseParams)
    parents = recipe_parents(trace.organisms)
    courses = read_courses(trace, load("study.seeds", Seeds).root, parents, load("ngrams", Ngrams))
    metrics, tables = summarise(courses, TRACES, NGRAMS, params, trace.confidence)
    for name, table in tables.items():
        save_table(table, TABLES / f"{name}.csv")
    write_json(METRICS, metrics)
    logging.info("%d courses of training: %s", len(courses), ", ".join(course.name for course in courses))


if __name__ == "__main__":
    run_stage(main, __doc__)
