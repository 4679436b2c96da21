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
from stages.activations.words import require_same_words
from stages.concepts.concept_vectors import intervention_table
from stages.concepts.language_models import open_language_model
from stages.concepts.ontologies.hierarchy import read_hierarchy
from stages.concepts.params import Concepts, load_text
from stages.concepts.state_extraction import concept_texts, extract_states, isa_questions
from stages.concepts.state_files import FINAL, UNTRAINED, Words, WordsHeader, write_states
from stages.concepts.tables import WORD_TABLES, ordered
from stages.models.capture import self_test, text_config
from stages.models.checkpoint import find_checkpoint, open_checkpoint
from stages.models.loading import load_tokenizer
from stages.models.runs import is_organism
from stages.shared.cells import model_and_reference
from stages.shared.command import run_stage
from stages.shared.files import atomic_folder
from stages.shared.params import load
from stages.shared.scratch import library_versions
from stages.tasks.documents import read_text_documents
from stages.tasks.rows import read_rows

WORDS = Path("data/concepts/words")
# Libraries whose versions the file of states records.
LIBRARIES = ("numpy", "tokenizers", "torch", "transformers")


def main(name: str, reference: str) -> None:
    params, collect = load("concepts", Concepts), load("collect", Collect)
    tokenizer, checkpoint = load_tokenizer(find_checkpoint(reference)), open_checkpoint(name)
    precision, tokens_per_batch = checkpoint.precision or collect.precision, collect.tokens_per_batch
    model = open_language_model(checkpoint, FINAL, precision, params.seed)
    self_test(model)
    config = text_config(model)
    hierarchy = read_hierarchy(WORDS / "hierarchy.json", params.ontology.least_words)
    documents = read_text_documents(load_text())
    text = sequences(tokenizer, documents, params.sequences, params.length)
    texts = concept_texts(tokenizer, config.vocab_size, hierarchy, text, params)
    require_same_words(checkpoint, tokenizer, [texts.emitted, *texts.words, *text.ids])
    states = {FINAL: extract_states(model, texts, tokens_per_batch, params)}
    if name == reference:
        untrained = open_language_model(checkpoint, UNTRAINED, precision, params.seed)
        states[UNTRAINED] = extract_states(untrained, texts, tokens_per_batch, params)
    has_questions = is_organism(name) and params.ontology.source == "organisms"
    header = WordsHeader(
        model=name,
        weight_hash=checkpoint.weight_hash,
        layer=params.layer(config.num_hidden_layers),
        words=list(texts.hierarchy.words),
        templates=params.templates,
        left_out=texts.left_out,
        questions=isa_questions(model, tokenizer, read_rows("ontology")) if has_questions else {},
        precision=precision,
        library_versions=library_versions(LIBRARIES),
    )
    words = Words(header, texts.emitted, texts.row, states)
    effects = intervention_table(model, tokenizer, words, texts.hierarchy, documents, params)
    with atomic_folder(WORDS / name) as folder:
        write_states(folder / "states.h5", words)
        WORD_TABLES.write_into(folder, name, {"interventions": ordered("interventions", effects.assign(model=name))})
    logging.info("%s: %d words of %d tokens, left out: %s", name, len(header.words), len(texts.emitted), texts.left_out)


if __name__ == "__main__":
    run_stage(main, __doc__, model_and_reference("concepts.models"))
