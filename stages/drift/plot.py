"""Draw the figures of the drift study and write the tables behind them: python -m stages.drift.plot."""

from __future__ import annotations

import logging
from pathlib import Path

from stages.drift.compared_models import compared_models
from stages.drift.figures import depth_curves, pairs, profiles, transitions
from stages.drift.figures.inputs import read_inputs
from stages.drift.params import Drift, load_scope
from stages.shared.command import run_stage
from stages.shared.figure_style import save_all
from stages.shared.params import load

RECORDS, PLOTS = Path("data/drift/records"), Path("plots/drift")


def main() -> None:
    params = load("drift", Drift)
    inputs = read_inputs(RECORDS, PLOTS, compared_models(params, load_scope()), params)
    tables = {
        "curve": depth_curves.layers_table(inputs),
        "models": depth_curves.models_table(inputs),
        "layers": pairs.layers_table(inputs),
        "checkpoints": pairs.checkpoints_table(inputs),
        "distances": pairs.distances_table(inputs),
        "profile": profiles.profile_table(inputs),
        "norms": profiles.norms_table(inputs),
        "bases": transitions.bases_table(inputs),
    }
    figures = {
        "curve": depth_curves.draw_layers(tables["curve"], inputs),
        "models": depth_curves.draw_models(tables["models"], inputs),
        "layers": pairs.draw_layers(tables["layers"], inputs),
        "checkpoints": pairs.draw_checkpoints(tables["checkpoints"], inputs),
        "distances": pairs.draw_distances(tables["distances"], inputs),
        "profile": profiles.draw_profile(tables["profile"], inputs),
        "norms": profiles.draw_norms(tables["norms"], inputs),
        "bases": transitions.draw_bases(tables["bases"], inputs),
        "transitions": transitions.draw_transitions(inputs.transitions, inputs),
    }
    save_all(tables, figures, PLOTS)
    logging.info("%d figures of %d recipes in %s", len(figures), len(inputs.recipes), PLOTS)


if __name__ == "__main__":
    run_stage(main, __doc__)
