"""Draw the figures of traced training and write the tables behind them: python -m stages.trace.plot."""

from __future__ import annotations

import logging
from pathlib import Path

from stages.shared.command import run_stage
from stages.shared.figure_style import save_all
from stages.shared.params import load
from stages.trace.figures import axes, course, layers, memorization, rarefaction, spectra, views
from stages.trace.figures.inputs import read_inputs
from stages.trace.lineage import read_courses
from stages.trace.params import Ngrams, PhaseParams, Seeds, Trace, recipe_parents

TRACES, PLOTS = Path("data/trace/runs"), Path("plots/trace")


def main() -> None:
    trace, phases = load("trace", Trace), load("phases", PhaseParams)
    parents = recipe_parents(trace.organisms)
    courses = read_courses(trace, load("study.seeds", Seeds).root, parents, load("ngrams", Ngrams))
    inputs = read_inputs(courses, TRACES, PLOTS, phases.headline, trace.confidence)
    tables = {
        "course": course.table(inputs),
        "axes": axes.table(inputs),
        "spectra": spectra.table(inputs, TRACES, trace.decay_ranks),
        "views": views.table(inputs),
        "layers": layers.table(inputs, TRACES),
        "memorization": memorization.table(inputs),
        "rarefaction": rarefaction.table(inputs),
    }
    figures = {
        "course": course.draw(tables["course"], inputs),
        "axes": axes.draw(tables["axes"], inputs),
        "spectra": spectra.draw(tables["spectra"], inputs),
        "views": views.draw(tables["views"], inputs),
        "layers": layers.draw(tables["layers"], inputs),
        "memorization": memorization.draw(tables["memorization"], inputs),
        "rarefaction": rarefaction.draw(tables["rarefaction"], inputs),
    }
    save_all(tables, figures, PLOTS)
    logging.info("%d figures of %d courses of training in %s", len(figures), len(courses), PLOTS)


if __name__ == "__main__":
    run_stage(main, __doc__)
