"""Draw the figures of the concepts study and write the tables behind them: python -m stages.concepts.plot."""

from __future__ import annotations

import logging
from pathlib import Path

from stages.concepts.autoencoder_params import Autoencoders
from stages.concepts.figures import autoencoders, geometry, steering
from stages.concepts.figures.inputs import read_inputs
from stages.concepts.params import Concepts
from stages.shared.command import run_stage
from stages.shared.figure_style import save_all
from stages.shared.params import load

FOLDER, PLOTS = Path("data/concepts"), Path("plots/concepts")


def main() -> None:
    inputs = read_inputs(FOLDER, load("concepts", Concepts), load("autoencoders", Autoencoders))
    pairs = geometry.pairs_table(inputs)
    tables = {
        "gate": geometry.gate_table(inputs),
        "quality": autoencoders.quality_table(inputs),
        "shared": autoencoders.shared_table(inputs),
        "vectors": steering.vectors_table(inputs),
        "latents": steering.latents_table(inputs),
    }
    figures = {
        "gate": geometry.draw_gate(tables["gate"], inputs),
        "angles": geometry.draw_angles(pairs, tables["gate"], inputs),
        "hierarchy": geometry.draw_hierarchy(pairs, inputs),
        "polytope": geometry.draw_polytope(inputs),
        "curves": autoencoders.draw_curves(inputs),
        "quality": autoencoders.draw_quality(tables["quality"], inputs),
        "shared": autoencoders.draw_shared(tables["shared"], inputs),
        "vectors": steering.draw_vectors(tables["vectors"], inputs),
        "latents": steering.draw_latents(tables["latents"], tables["vectors"], inputs),
    }
    save_all(tables, figures, PLOTS)
    logging.info("%d figures in %s", len(figures), PLOTS)


if __name__ == "__main__":
    run_stage(main, __doc__)
