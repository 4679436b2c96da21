"""Draw the figures of traced training and write the tables behind them: python -m stages.trace.plot."""

from __future__ import annotations

import logging
from pathlib import Path

from stages.shared.command import run_stage
from stages.shared.figure_style import save_all
from stages.shared.params import load
from stages.trace.figures import axes as trace_axes
from stages.trace.figures import course as trace_course
from stages.trace.figures import layers as trace_layers
from stages.trace.figures import memorization as trace_memorization
from stages.trace.figures import rarefaction as trace_rarefaction
from stages.trace.figures import spectra as trace_spectra
from stages.trace.figures import views as trace_views
from stages.trace.figures.inputs import read_inputs
from stages.trace.lineage import lines
from stages.trace.params import Ngrams, Phases, Seeds, Trace, recipe_parents

TRACES, PLOTS = Path("data/trace/runs"), Path("plots/trace")


def main() -> None:
    trace, phases = load("trace", Trace), load("phases", Phases)
    traced = lines(trace, load("study.seeds", Seeds).root, recipe_parents(trace.organisms), load("ngrams", Ngrams))
    read = read_inputs(traced, TRACES, PLOTS, phases.headline, trace.confidence)
    tables = {
        "course": trace_course.table(read),
        "axes": trace_axes.table(read),
        "spectra": trace_spectra.table(read, TRACES, trace.decay_ranks),
        "views": trace_views.table(read),
        "layers": trace_layers.table(read, TRACES),
        "memorization": trace_memorization.table(read),
        "rarefaction": trace_rarefaction.table(read),
    }
    figures = {
        "course": trace_course.draw(tables["course"], read),
        "axes": trace_axes.draw(tables["axes"], read),
        "spectra": trace_spectra.draw(tables["spectra"], read),
        "views": trace_views.draw(tables["views"], read),
        "layers": trace_layers.draw(tables["layers"], read),
        "memorization": trace_memorization.draw(tables["memorization"], read),
        "rarefaction": trace_rarefaction.draw(tables["rarefaction"], read),
    }
    save_all(tables, figures, PLOTS)
    logging.info("%d figures of %d lines in %s", len(figures), len(traced), PLOTS)


if __name__ == "__main__":
    run_stage(main, __doc__)
