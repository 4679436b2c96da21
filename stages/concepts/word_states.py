"""States at the words of a hierarchy, divided into those that may be learnt from and those that test."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from stages.concepts.autoencoder_jobs import EncodedModel


class WordStates(NamedTuple):
    """The middle states (n, d) at words, with the kind and the word of each row."""

    states: np.ndarray
    label: np.ndarray
    """(n,) index of the kind just above the word, among the parents of the hierarchy."""
    word: np.ndarray
    """(n,) index of the word in the hierarchy."""


def learning_and_test_states(encoded: EncodedModel) -> tuple[WordStates, WordStates, list[str]]:
    """Return words and templates to learn from, held-out words in held-out templates, and the kinds that labels stand for."""
    held_out, last = encoded.hierarchy.held_out_mask(), encoded.concepts.held_out_templates
    label = encoded.hierarchy.parent_index()

    def word_states(states: np.ndarray, words: np.ndarray) -> WordStates:
        rows = states[:, words]  # (templates, words, d)
        index = np.tile(np.flatnonzero(words), len(rows))
        return WordStates(rows.reshape(-1, rows.shape[-1]).astype(np.float64), label[index], index)

    middle = encoded.values.middle
    return word_states(middle[:-last], ~held_out), word_states(middle[-last:], held_out), encoded.hierarchy.parents()
