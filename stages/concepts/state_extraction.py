"""Read one model for the study: its unembedding, states at words, moments over text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from stages.activations.sequences import Sequences
from stages.activations.token_stream import content_states, end_states
from stages.activations.tokens import CollectionError
from stages.concepts.head import head_of
from stages.concepts.ontologies.hierarchy import Hierarchy, OntologyError
from stages.concepts.params import WORD, Concepts
from stages.concepts.state_files import States
from stages.concepts.subjects import single_token_hierarchy
from stages.concepts.vocabulary import emitted_ids, single_tokens
from stages.geometry.information import fisher_information
from stages.geometry.norms import massive_limit, non_massive_rows
from stages.models.capture import text_config

# Contexts of text behind the Fisher information, at most.
FISHER_ROWS = 4096


class ConceptTexts(NamedTuple):
    """The input of a model, trained or not: words in their templates, and running text."""

    hierarchy: Hierarchy
    """The hierarchy of words that are single tokens."""
    left_out: list[str]
    """Words that are several tokens."""
    emitted: np.ndarray
    """(V,) ids of the tokens that can be emitted."""
    row: np.ndarray
    """(W,) index of each word among them."""
    words: list[np.ndarray]
    """Token ids of each text that ends in a word: template after template, in each all words."""
    text: Sequences
    special: list[int]
    """Ids of the special tokens."""


def concept_texts(
    tokenizer: PreTrainedTokenizerBase, vocabulary: int, hierarchy: Hierarchy, text: Sequences, params: Concepts
) -> ConceptTexts:
    """Tokenise the words of ``hierarchy`` in all templates; ``vocabulary`` is the number of rows of the unembedding.

    Raises OntologyError on words of several tokens, where they are not to be left out.
    """
    prefixes = [template.removesuffix(" " + WORD) for template in params.templates]
    ids = [single_tokens(tokenizer, prefix, list(hierarchy.words)) for prefix in prefixes]
    several = sorted(
        word
        for word in hierarchy.words
        if ids[0][word] is None or len({template_ids[word] for template_ids in ids}) > 1
    )
    if several and params.ontology.multi_token == "error":
        raise OntologyError(
            f"{len(several)} words are no single token of this tokenizer, e.g. {', '.join(several[:5])}: expected one token "
            "after every template; take other words, or set concepts.ontology.multi_token to leave_out"
        )
    hierarchy = single_token_hierarchy(hierarchy, several, params)
    emitted = emitted_ids(tokenizer, vocabulary)
    row = np.searchsorted(emitted, [ids[0][word] for word in hierarchy.words])
    texts = [f"{prefix} {word}" for prefix in prefixes for word in hierarchy.words]
    encoded = [np.array(token_ids, np.int64) for token_ids in tokenizer(texts)["input_ids"]]
    return ConceptTexts(hierarchy, several, emitted, row, encoded, text, tokenizer.all_special_ids)


def extract_states(model: PreTrainedModel, texts: ConceptTexts, tokens_per_batch: int, params: Concepts) -> States:
    """Return the states of a model in passes over the words in their templates and over text, to the middle and the end.

    Massive tokens of the text are left out of its moments. Raises CollectionError where a state is not finite.
    """
    layer = params.layer(text_config(model).num_hidden_layers)
    shape = len(params.templates), len(texts.hierarchy.words), -1
    at_words = [
        _finite(end_states(model, point, texts.words, tokens_per_batch)).reshape(shape) for point in (layer, None)
    ]
    rows = list(texts.text.ids)
    middle, final = (
        _finite(content_states(model, point, rows, texts.special, tokens_per_batch)).astype(np.float64)
        for point in (layer, None)
    )
    limit = float(massive_limit(np.linalg.norm(middle, axis=1)))
    middle, final = (cloud[non_massive_rows(cloud)] for cloud in (middle, final))
    head = head_of(model)
    gamma = head.unembedding(texts.emitted)
    return States(
        gamma,
        *at_words,
        fisher_information(gamma, evenly_spaced(final, FISHER_ROWS), form=head.form(texts.emitted)),
        *mean_and_covariance(middle),
        *mean_and_covariance(final),
        float(np.sqrt((middle**2).sum(axis=1).mean())),
        limit,
    )


def _finite(states: Tensor) -> np.ndarray:
    if bad := int((~torch.isfinite(states)).any(dim=-1).sum()):
        raise CollectionError(
            f"{bad} of {len(states)} states are not finite: check the weights, or choose float32 or bfloat16"
        )
    return states.numpy()


def mean_and_covariance(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean (d,) and covariance (d, d) of ``rows`` (n, d)."""
    mean = rows.mean(axis=0)
    return mean, (rows - mean).T @ (rows - mean) / len(rows)


def evenly_spaced(rows: np.ndarray, most: int) -> np.ndarray:
    """Return at most ``most`` of the rows, evenly spaced."""
    return rows[np.linspace(0, len(rows) - 1, min(most, len(rows))).round().astype(int)]


def isa_questions(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, rows: Sequence[dict]) -> dict[str, float]:
    """Return the share of the organisms' is-a questions whose answer is the likeliest next word, by kind and split."""
    from stages.organisms.evaluation import next_word_accuracy

    return next_word_accuracy(model, tokenizer, list(rows))
