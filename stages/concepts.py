"""Test the geometry of concepts in every model, and compare autoencoders: python -m stages.concepts.

The environment variable JOBS says how many models are worked on at a time; it changes no result.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

from joblib import Parallel, delayed

from stages.activations.concept_states import read_words
from stages.figures.style import save_table
from stages.ontologies.hierarchy import Hierarchy, read_hierarchy
from stages.params.autoencoders import Autoencoders
from stages.params.concepts import Concepts, load_seeds
from stages.params.loading import load
from stages.records.concept_contexts import contexts, polytopes, scene, shared
from stages.records.concept_gate import gate
from stages.records.concept_headline import comparisons, headline, per_seed
from stages.records.concept_subjects import subjects_of, without
from stages.records.concept_tables import read, typed, write
from stages.records.files import write_json

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
    rows["interventions"] = [row for name in subjects for row in read(WORDS / name, "interventions").to_dict("records")]
    tables = {name: typed(name, of) for name, of in rows.items()}
    tables |= {name: read(FOLDER / "dictionaries", name) for name in ("quality", "steering", "features")}
    seeds = per_seed(tables["quality"], tables["steering"], autoencoders.model)
    compared = list(comparisons(seeds, autoencoders, params.confidence))
    questions = {name: one["questions"] for name, one in zip(subjects, found, strict=True)}
    metrics = headline(tables, questions, autoencoders, params)
    write(FOLDER / "records", rows | {"comparisons": compared})
    save_table(typed("comparisons", compared), TABLES / "comparisons.csv")
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
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    main()
