"""Places in a text where a word of the ontology comes next, and the text's division into training and testing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from tqdm import tqdm
from transformers import PreTrainedTokenizerBase

from stages.activations.tokens import text_ids

# Share of the documents, the first, from which vectors, probes and autoencoders learn; the rest tests.
TRAINED = 0.75
# Tokens of a context at most: those from the beginning of its document.
LONGEST = 24


class ContextError(ValueError):
    """A text has no place for an intervention; the message says what was looked for and the fix."""


class Contexts(NamedTuple):
    """The contexts that a word of the ontology follows."""

    rows: list[np.ndarray]
    """Token ids from the beginning of the document up to the word."""
    word: list[str]
    """The word that follows each context."""


def trained_part(documents: Sequence[str]) -> Sequence[str]:
    """Return the documents to learn from."""
    return documents[: round(TRAINED * len(documents))]


def tested_part(documents: Sequence[str]) -> Sequence[str]:
    """Return the documents to test on."""
    return documents[round(TRAINED * len(documents)) :]


def find_contexts(
    tokenizer: PreTrainedTokenizerBase, documents: Sequence[str], words: Mapping[int, str], count: int, seed: int
) -> Contexts:
    """Return up to ``count`` contexts, at most one of each document, drawn from its places; ``words`` is by token id.

    Raises ContextError where there is none.
    """
    generator = np.random.default_rng(seed)
    rows, following = [], []
    ids_of_words = np.array(sorted(words))
    for document in tqdm(documents, desc="contexts", unit="document", disable=None):
        ids = np.array(text_ids(tokenizer, [document])[0][: LONGEST + 1], np.int64)
        places = np.flatnonzero(np.isin(ids, ids_of_words))
        places = places[places >= 2]  # something stands before the word beside the sink
        if len(places):
            place = int(generator.choice(places))
            rows.append(ids[:place])
            following.append(words[int(ids[place])])
        if len(rows) == count:
            break
    if not rows:
        raise ContextError(
            f"none of {len(documents)} documents has one of the {len(words)} words of the ontology in its first {LONGEST} tokens: "
            "take another text (concepts.text) or ontology"
        )
    return Contexts(rows, following)
