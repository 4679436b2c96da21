"""Test the geometry of concepts in every model, and compare autoencoders: python -m stages.concepts.summarise.

The environment variable JOBS says how many models are worked on at a time; it changes no result.
"""

from __future__ import annotations

import logging
from pathlib import Path

from joblib import Parallel, delayed

from stages.concepts.autoencoder_params import Autoencoders
from stages.concepts.concept_probes import contexts, polytopes, scene, shared
from stages.concepts.gate import gate
from stages.concepts.metrics import comparisons, per_seed, study_metrics
from stages.concepts.ontologies.hierarchy import Hierarchy, read_hierarchy
from stages.concepts.params import Concepts, load_seeds
from stages.concepts.state_files import read_words
from stages.concepts.subjects import single_token_hierarchy, subjects_of
from stages.concepts.tables import DICTIONARIES, DICTIONARY_TABLES, RECORD_TABLES, WORD_TABLES, ordered
from stages.shared.command import run_stage
from stages.shared.figure_style import save_table
from stages.shared.files import write_json
from stages.shared.params import load
from stages.shared.workers import worker_count

FOLDER, WORDS = Path("data/concepts"), Path("data/concepts/words")
# Tables with rows of every model.
MODEL_TABLES = ("gate", "pairs", "contexts", "siblings", "shared", "scene")
METRICS, TABLES = Path("metrics/concepts.json"), Path("plots/concepts")


def main() -> None:
    params, autoencoders = load("concepts", Concepts), load("autoencoders", Autoencoders)
    subjects = subjects_of(params, load_seeds())
    hierarchy = read_hierarchy(WORDS / "hierarchy.json", params.ontology.least_words)
    workers = worker_count()
    results = Parallel(workers)(delayed(work)(*pair, hierarchy, params) for pair in subjects.items())
    rows = {name: [row for result in results for row in result[name]] for name in MODEL_TABLES}
    rows["interventions"] = [
        row for name in subjects for row in WORD_TABLES.read(WORDS / name, "interventions").to_dict("records")
    ]
    records = {name: ordered(name, table_rows) for name, table_rows in rows.items()}
    tables = records | {name: DICTIONARY_TABLES.read(FOLDER / "dictionaries", name) for name in DICTIONARIES}
    seeds = per_seed(tables["quality"], tables["steering"], autoencoders.model)
    comparison_table = ordered("comparisons", list(comparisons(seeds, autoencoders, params.confidence)))
    questions = {name: result["questions"] for name, result in zip(subjects, results, strict=True)}
    metrics = study_metrics(tables, questions, autoencoders, params)
    RECORD_TABLES.write(FOLDER / "records", records | {"comparisons": comparison_table})
    save_table(comparison_table, TABLES / "comparisons.csv")
    write_json(METRICS, metrics)
    logging.info("%d models, %d comparisons of autoencoders", len(subjects), len(comparison_table))


def work(name: str, reference: str, hierarchy: Hierarchy, params: Concepts) -> dict[str, list[dict] | dict]:
    """Return the rows of one model for each of the tables `MODEL_TABLES`, and its is-a questions."""
    words, reference_words = (read_words(WORDS / model / "states.h5") for model in (name, reference))
    hierarchy = single_token_hierarchy(hierarchy, words.header.left_out, params)
    rows, pairs = gate(words, hierarchy, params)
    is_reference = name == reference
    return {
        "gate": rows.to_dict("records"),
        "pairs": pairs.to_dict("records"),
        "contexts": list(contexts(words, hierarchy, params)),
        "siblings": list(polytopes(words, hierarchy, params)),
        "shared": [] if is_reference else list(shared(words, reference_words, hierarchy, params)),
        "scene": list(scene(words, hierarchy, params)) if is_reference else [],
        "questions": words.header.questions,
    }


if __name__ == "__main__":
    run_stage(main, __doc__)
