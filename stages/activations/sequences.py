"""One frozen token set for all checkpoints: sequences of one length, so that no padding enters and positions compare."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from transformers import PreTrainedTokenizerBase

from stages.activations.tokens import CollectionError, text_ids


class Sequences(NamedTuple):
    """The token ids of sequences of one length, and which of them are content."""

    ids: np.ndarray
    """Token ids (n, length), int64"""
    content: np.ndarray
    """Content tokens (n, length), bool: neither position 0, an attention sink, nor a special token"""

    def label(self, row: int) -> str:
        """Return what errors call the sequence in that row."""
        return f"sequence {row}"

    def digest(self) -> str:
        """Return the SHA-256 over shape and token ids: runs are compared only on the same."""
        stream = np.concatenate([self.ids.shape, self.ids.ravel()]).astype("<i8")
        return hashlib.sha256(stream.tobytes()).hexdigest()


def sequences(tokenizer: PreTrainedTokenizerBase, documents: Iterable[str], count: int, length: int) -> Sequences:
    """Return the first ``count`` sequences: each begins with a document and goes on with the next ones until it is full.

    Documents are separated by the end token; what is left of the last one in a sequence is not used again, so no
    sequence begins in the middle of a text. Raises CollectionError where the documents do not suffice, and on a
    tokenizer without an end token.
    """
    end = tokenizer.eos_token_id
    if end is None:
        raise CollectionError(f"the tokenizer in {tokenizer.name_or_path} has no end token to separate documents with")
    rows: list[list[int]] = []
    row: list[int] = []
    for document in documents:
        row += [*text_ids(tokenizer, [document])[0], end]
        if len(row) >= length:
            rows.append(row[:length])
            row = []
        if len(rows) == count:
            break
    else:
        raise CollectionError(
            f"the text gives {len(rows)} sequences of {length} tokens, {count} asked for: raise the documents of the "
            "text (data/registry/texts.yaml), or lower trace.sequences or trace.length"
        )
    ids = np.array(rows, dtype=np.int64)
    content = ~np.isin(ids, tokenizer.all_special_ids) & (np.arange(length) > 0)
    return Sequences(ids, content)
