"""The vocabulary: the rows of the unembedding that are words, and the single token that a word is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from transformers import PreTrainedTokenizerBase


def emitted_ids(tokenizer: PreTrainedTokenizerBase, rows: int) -> np.ndarray:
    """Return the ids below ``rows`` that stand for text, ascending: what the tokenizer makes of some text, and no special token.

    Left out are special tokens, rows that only fill the matrix up to a round number, and entries of the vocabulary
    that merges never reach: their rows were never trained as words.
    """
    special = set(tokenizer.all_special_ids)
    added = set(tokenizer.get_added_vocab().values())
    pieces = tokenizer.backend_tokenizer.model
    ids = [
        index
        for token, index in tokenizer.get_vocab().items()
        if index < rows
        and index not in special
        and (index in added or [p.id for p in pieces.tokenize(token)] == [index])
    ]
    return np.array(sorted(ids), np.int64)


def single_tokens(tokenizer: PreTrainedTokenizerBase, prefix: str, words: Sequence[str]) -> dict[str, int | None]:
    """Return the id of each word after ``prefix`` and a space; None where it is several tokens, or changes the prefix's."""
    prefix_ids = tokenizer(prefix)["input_ids"]
    word_ids = tokenizer([f"{prefix} {word}" for word in words])["input_ids"]
    return {
        word: ids[-1] if ids[:-1] == prefix_ids and ids[-1] != tokenizer.unk_token_id else None
        for word, ids in zip(words, word_ids, strict=True)
    }
