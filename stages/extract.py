"""Read one model's unembedding, its states at the words of the hierarchy and over text, and add concept vectors to them.

Usage: python -m stages.extract MODEL REFERENCE

Texts are tokenised with the tokenizer of REFERENCE, so that all siblings see the same tokens. A model that is its own
reference is read untrained too. The environment variable DEVICE (cpu, cuda, auto) chooses where.
"""

from __future__ import annotations

import argparse
import logging
from importlib.metadata import version
from pathlib import Path

from stages.activations.concept_states import FINAL, UNTRAINED, Header, Words, write_states
from stages.activations.sequences import sequences
from stages.models.capture import self_test, text_config
from stages.models.checkpoint import find_checkpoint, open_checkpoint
from stages.models.loading import load_model, load_tokenizer
from stages.models.runs import is_organism
from stages.models.untrained import untrained_model
from stages.ontologies.hierarchy import read_hierarchy
from stages.params.collect import Collect
from stages.params.concepts import Concepts, load_text
from stages.params.loading import load
from stages.records.concept_tables import put
from stages.records.extracting import extract, isa_questions, material
from stages.records.files import atomic_folder
from stages.records.intervening import intervene
from stages.tasks.rows import read_rows
from stages.texts.files import read_documents_of

WORDS = Path("data/concepts/words")
LIBRARIES = ("numpy", "tokenizers", "torch", "transformers")


def main(name: str, reference: str) -> None:
    params, collect = load("concepts", Concepts), load("collect", Collect)
    tokenizer, checkpoint = load_tokenizer(find_checkpoint(reference)), open_checkpoint(name)
    precision, budget = checkpoint.precision or collect.precision, collect.tokens_per_batch
    model = load_model(checkpoint, precision)
    self_test(model)
    config = text_config(model)
    hierarchy = read_hierarchy(WORDS / "hierarchy.json", params.ontology.least_words)
    documents = read_documents_of(load_text())
    text = sequences(tokenizer, documents, params.sequences, params.length)
    shown = material(tokenizer, config.vocab_size, hierarchy, text, params)
    states = {FINAL: extract(model, shown, budget, params)}
    if name == reference:
        states[UNTRAINED] = extract(untrained_model(checkpoint, precision, params.seed), shown, budget, params)
    asked = is_organism(name) and params.ontology.source == "organisms"
    questions = isa_questions(model, tokenizer, read_rows("ontology")) if asked else {}
    libraries = {library: version(library) for library in LIBRARIES}
    header = Header(
        name, checkpoint.weight_hash, params.layer(config.num_hidden_layers), list(shown.hierarchy.words), params.templates,
        shown.left_out, questions, precision, libraries,
    )  # fmt: skip
    words = Words(header, shown.emitted, shown.row, states)
    moved = intervene(model, tokenizer, words, states[FINAL], shown.hierarchy, documents, params)
    with atomic_folder(WORDS / name) as folder:
        write_states(folder / "states.h5", words)
        put(folder, "interventions", moved.assign(model=name).to_dict("records"))
    logging.info("%s: %d words of %d tokens, left out: %s", name, len(header.words), len(shown.emitted), shown.left_out)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("reference")
    arguments = parser.parse_args()
    main(arguments.model, arguments.reference)
