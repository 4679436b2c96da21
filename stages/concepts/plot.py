"""Draw the figures of the concepts study and write the tables behind them: python -m stages.concepts.plot."""

from __future__ import annotations

import logging
from pathlib import Path

from stages.concepts.autoencoder_params import Autoencoders
from stages.concepts.figures import dictionaries as concept_dictionaries
from stages.concepts.figures import geometry as concept_geometry
from stages.concepts.figures import steering as concept_steering
from stages.concepts.figures.inputs import read_inputs
from stages.concepts.params import Concepts
from stages.shared.command import run_stage
from stages.shared.figure_style import save_all
from stages.shared.params import load

FOLDER, PLOTS = Path("data/concepts"), Path("plots/concepts")


def main() -> None:
    read = read_inputs(FOLDER, load("concepts", Concepts), load("autoencoders", Autoencoders))
    pairs = concept_geometry.pairs_table(read)
    tables = {
        "gate": concept_geometry.gate_table(read),
        "quality": concept_dictionaries.quality_table(read),
        "shared": concept_dictionaries.shared_table(read),
        "vectors": concept_steering.vectors_table(read),
        "latents": concept_steering.latents_table(read),
    }
    figures = {
        "gate": concept_geometry.draw_gate(tables["gate"], read),
        "angles": concept_geometry.draw_angles(pairs, tables["gate"], read),
        "hierarchy": concept_geometry.draw_hierarchy(pairs, read),
        "polytope": concept_geometry.draw_polytope(read),
        "curves": concept_dictionaries.draw_curves(read),
        "quality": concept_dictionaries.draw_quality(tables["quality"], read),
        "shared": concept_dictionaries.draw_shared(tables["shared"], read),
        "vectors": concept_steering.draw_vectors(tables["vectors"], read),
        "latents": concept_steering.draw_latents(tables["latents"], tables["vectors"], read),
    }
    save_all(tables, figures, PLOTS)
    logging.info("%d figures in %s", len(figures), PLOTS)


if __name__ == "__main__":
    run_stage(main, __doc__)
