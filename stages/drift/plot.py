"""Draw the figures of the drift study and write the tables behind them: python -m stages.drift.plot."""

from __future__ import annotations

import logging
from pathlib import Path

from stages.drift.figures import clouds as drift_clouds
from stages.drift.figures import depth as drift_depth
from stages.drift.figures import pairs as drift_pairs
from stages.drift.figures import steps as drift_steps
from stages.drift.figures.inputs import read_inputs
from stages.drift.params import Drift, load_scope
from stages.drift.subjects import subjects_of
from stages.shared.command import run_stage
from stages.shared.figure_style import save_all
from stages.shared.params import load

RECORDS, PLOTS = Path("data/drift/records"), Path("plots/drift")


def main() -> None:
    params = load("drift", Drift)
    read = read_inputs(RECORDS, PLOTS, subjects_of(params, load_scope()), params)
    tables = {
        "curve": drift_depth.layers_table(read),
        "models": drift_depth.models_table(read),
        "layers": drift_pairs.layers_table(read),
        "checkpoints": drift_pairs.checkpoints_table(read),
        "distances": drift_pairs.distances_table(read),
        "profile": drift_clouds.profile_table(read),
        "norms": drift_clouds.norms_table(read),
        "bases": drift_steps.bases_table(read),
    }
    figures = {
        "curve": drift_depth.draw_layers(tables["curve"], read),
        "models": drift_depth.draw_models(tables["models"], read),
        "layers": drift_pairs.draw_layers(tables["layers"], read),
        "checkpoints": drift_pairs.draw_checkpoints(tables["checkpoints"], read),
        "distances": drift_pairs.draw_distances(tables["distances"], read),
        "profile": drift_clouds.draw_profile(tables["profile"], read),
        "norms": drift_clouds.draw_norms(tables["norms"], read),
        "bases": drift_steps.draw_bases(tables["bases"], read),
        "transitions": drift_steps.draw_transitions(read.transitions, read),
    }
    save_all(tables, figures, PLOTS)
    logging.info("%d figures of %d lines in %s", len(figures), len(read.families), PLOTS)


if __name__ == "__main__":
    run_stage(main, __doc__)
