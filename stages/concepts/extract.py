"""Read one model's unembedding, its states at the words of the hierarchy and over text, and add concept vectors to them.

Usage: python -m stages.concepts.extract MODEL REFERENCE

Texts are tokenised with the tokenizer of REFERENCE, so that all siblings see the same tokens. A model that is its own
reference is read untrained too. The environment variable DEVICE (cpu, cuda, auto) chooses where.
"""

from __future__ import annotations

import logging
from pathlib import Path

from stages.activations.params import Collect
from stages.activations.sequences import sequences
from stages.concepts.interventions import intervene
from stages.concepts.ontologies.hierarchy import read_hierarchy
from stages.concepts.params import Concepts, load_text
from stages.concepts.state_files import FINAL, UNTRAINED, Header, Words, write_states
from stages.concepts.states import extract, isa_questions, material
from stages.concepts.tables import WORD_TABLES, ordered
from stages.models.capture import self_test, text_config
from stages.models.checkpoint import find_checkpoint, open_checkpoint
from stages.models.loading import load_model, load_tokenizer
from stages.models.runs import is_organism
from stages.models.untrained import untrained_model
from stages.shared.command import run_stage
from stages.shared.files import atomic_folder
from stages.shared.params import load
from stages.shared.scratch import library_versions
from stages.tasks.documents import read_text_documents
from stages.tasks.rows import read_rows

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
    documents = read_text_documents(load_text())
    text = sequences(tokenizer, documents, params.sequences, params.length)
    shown = material(tokenizer, config.vocab_size, hierarchy, text, params)
    states = {FINAL: extract(model, shown, budget, params)}
    if name == reference:
        states[UNTRAINED] = extract(untrained_model(checkpoint, precision, params.seed), shown, budget, params)
    asked = is_organism(name) and params.ontology.source == "organisms"
    questions = isa_questions(model, tokenizer, read_rows("ontology")) if asked else {}
    libraries = library_versions(LIBRARIES)
    header = Header(
        name, checkpoint.weight_hash, params.layer(config.num_hidden_layers), list(shown.hierarchy.words), params.templates,
        shown.left_out, questions, precision, libraries,
    )  # fmt: skip
    words = Words(header, shown.emitted, shown.row, states)
    moved = intervene(model, tokenizer, words, states[FINAL], shown.hierarchy, documents, params)
    with atomic_folder(WORDS / name) as folder:
        write_states(folder / "states.h5", words)
        WORD_TABLES.write_into(folder, {"interventions": ordered("interventions", moved.assign(model=name))})
    logging.info("%s: %d words of %d tokens, left out: %s", name, len(header.words), len(shown.emitted), shown.left_out)


if __name__ == "__main__":
    run_stage(main, __doc__)
