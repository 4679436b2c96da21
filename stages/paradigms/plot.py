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
    """Read every table of the study; write the table and the image of each figure."""
    study, measure, declared = load("study", Study), load("measure", MeasureParams), load("hypotheses", Hypotheses)
    inputs = read_inputs(study, measure, load("perturb", PerturbParams))
    k, site, confidence, margins = measure.headline_k, declared.site, measure.confidence, declared.margins
    paths = displacement.paths(inputs.points)
    distances = displacement.distances(inputs.trained, paths)
    tables = {
        "preservation": preservation.table(inputs.records, inputs.points, k, site),
        "displacement": displacement.table(inputs.records, inputs.replicates, distances, k, site, confidence),
        "update_size": paths,
        "scores": scores.table(inputs.everywhere, k, site, measure.aggregation),
        "effective_rank": effective_rank.table(inputs.records, site),
        "rarefaction": rarefaction.table(inputs.rarefaction, site),
        "spectra": spectra.table(inputs.spectra, site),
        "sensitivity": sensitivity.table(inputs.sensitivity, confidence),
        "weights": weights.table(inputs.weights),
        "training": training.curve_table(inputs.curves),
        "accuracy": training.accuracy_table(inputs.trained),
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
            inputs.tests, margins.strong, margins.moderate, margins.equivalent, 1 - declared.alpha
        ),
    }
    save_all(tables, figures, PLOTS)
    logging.info("%d figures of %d models in %s", len(figures), inputs.models, PLOTS)


if __name__ == "__main__":
    run_stage(main, __doc__)
