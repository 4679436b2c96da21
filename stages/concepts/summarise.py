"""Test the geometry of concepts in every model, and compare autoencoders: python -m stages.concepts.summarise.

The environment variable JOBS says how many models are worked on at a time; it changes no result.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

from joblib import Parallel, delayed

from stages.concepts.autoencoder_params import Autoencoders
from stages.concepts.concept_probes import contexts, polytopes, scene, shared
from stages.concepts.gate import gate
from stages.concepts.metrics import comparisons, headline, per_seed
from stages.concepts.ontologies.hierarchy import Hierarchy, read_hierarchy
from stages.concepts.params import Concepts, load_seeds
from stages.concepts.state_files import read_words
from stages.concepts.subjects import subjects_of, without
from stages.concepts.tables import DICTIONARIES, DICTIONARY_TABLES, RECORD_TABLES, WORD_TABLES, ordered
from stages.shared.command import run_stage
from stages.shared.figure_style import save_table
from stages.shared.files import write_json
from stages.shared.params import load

FOLDER, WORDS = Path("data/concepts"), Path("data/concepts/words")
KINDS = ("gate", "pairs", "contexts", "siblings", "shared", "scene")
METRICS, TABLES = Path("metrics/concepts.json"), Path("plots/concepts")


def main() -> None:
    params, autoencoders = load("concepts", Concepts), load("autoencoders", Autoencoders)
    subjects = subjects_of(params, load_seeds())
    hierarchy = read_hierarchy(WORDS / "hierarchy.json", params.ontology.least_words)
    workers = int(os.environ.get("JOBS", os.cpu_count() or 1))
    found = Parallel(workers)(delayed(work)(*pair, hierarchy, params) for pair in subjects.items())
    rows = {name: [row for one in found for row in one[name]] for name in KINDS}
    rows["interventions"] = [
        row for name in subjects for row in WORD_TABLES.read(WORDS / name, "interventions").to_dict("records")
    ]
    records = {name: ordered(name, of) for name, of in rows.items()}
    tables = records | {name: DICTIONARY_TABLES.read(FOLDER / "dictionaries", name) for name in DICTIONARIES}
    seeds = per_seed(tables["quality"], tables["steering"], autoencoders.model)
    compared = list(comparisons(seeds, autoencoders, params.confidence))
    questions = {name: one["questions"] for name, one in zip(subjects, found, strict=True)}
    metrics = headline(tables, questions, autoencoders, params)
    comparison_table = ordered("comparisons", compared)
    RECORD_TABLES.write(FOLDER / "records", records | {"comparisons": comparison_table})
    save_table(comparison_table, TABLES / "comparisons.csv")
    write_json(METRICS, metrics)
    logging.info("%d models, %d comparisons of autoencoders", len(subjects), len(compared))


def work(name: str, reference: str, hierarchy: Hierarchy, params: Concepts) -> dict:
    """The rows of one model."""
    words, other = (read_words(WORDS / one / "states.h5") for one in (name, reference))
    own = without(hierarchy, words.header.left_out, params)
    rows, pairs = gate(words, own, params)
    return {
        "gate": rows.to_dict("records"), "pairs": pairs.to_dict("records"), "contexts": list(contexts(words, own, params)),
        "siblings": list(polytopes(words, own, params)),
        "shared": list(shared(words, other, own, params)) if name != reference else [],
        "scene": list(scene(words, own, params)) if name == reference else [], "questions": words.header.questions,
    }  # fmt: skip


if __name__ == "__main__":
    run_stage(main, __doc__)
