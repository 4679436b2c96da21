"""Draw the figures and write the tables behind them: python -m stages.paradigms.plot."""

from __future__ import annotations

import logging
from pathlib import Path

from stages.paradigms.figures import (
    displacement,
    effective_rank,
    hypotheses,
    preservation,
    rarefaction,
    scores,
    sensitivity,
    spectra,
    training,
    weights,
)
from stages.paradigms.figures.inputs import read_inputs
from stages.paradigms.params import Hypotheses, MeasureParams, PerturbParams
from stages.shared.command import run_stage
from stages.shared.figure_style import save_all
from stages.shared.params import load
from stages.shared.study import Study

PLOTS = Path("plots")


def main() -> None:
    study, measure, declared = load("study", Study), load("measure", MeasureParams), load("hypotheses", Hypotheses)
    read = read_inputs(study, measure, load("perturb", PerturbParams))
    k, site, confidence, margins = measure.headline_k, declared.site, measure.confidence, declared.margins
    paths = displacement.paths(read.points)
    known = displacement.distances(read.trained, paths)
    tables = {
        "preservation": preservation.table(read.records, read.points, k, site),
        "displacement": displacement.table(read.records, read.replicates, known, k, site, confidence),
        "update_size": paths,
        "scores": scores.table(read.everywhere, k, site, measure.aggregation),
        "effective_rank": effective_rank.table(read.records, site),
        "rarefaction": rarefaction.table(read.rarefaction, site),
        "spectra": spectra.table(read.spectra, site),
        "sensitivity": sensitivity.table(read.sensitivity, confidence),
        "weights": weights.table(read.weights),
        "training": training.curve_table(read.curves),
        "accuracy": training.accuracy_table(read.trained),
    }
    figures = {
        "preservation": preservation.draw(tables["preservation"], k, site),
        "displacement": displacement.draw(tables["displacement"], paths),
        "scores": scores.draw(tables["scores"], k, site),
        "effective_rank": effective_rank.draw(tables["effective_rank"], site),
        "rarefaction": rarefaction.draw(tables["rarefaction"], site),
        "spectra": spectra.draw(tables["spectra"], site),
        "sensitivity": sensitivity.draw(tables["sensitivity"]),
        "weights": weights.draw(tables["weights"]),
        "training": training.draw(tables["training"], tables["accuracy"]),
        "hypotheses": hypotheses.draw(
            read.tests, margins.strong, margins.moderate, margins.equivalent, 1 - declared.alpha
        ),
    }
    save_all(tables, figures, PLOTS)
    logging.info("%d figures of %d models in %s", len(figures), read.models, PLOTS)


if __name__ == "__main__":
    run_stage(main, __doc__)
