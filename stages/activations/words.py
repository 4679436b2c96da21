"""The words that token ids are in a model's own vocabulary: siblings are fed the ids of their reference's tokenizer."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from transformers import PreTrainedTokenizerBase

from stages.activations.params import load_unlike
from stages.activations.tokens import CollectionError
from stages.models.checkpoint import Checkpoint
from stages.models.loading import load_tokenizer


def require_same_words(checkpoint: Checkpoint, tokenizer: PreTrainedTokenizerBase, ids: Iterable[np.ndarray]) -> None:
    """Raise CollectionError where ``ids`` of ``tokenizer`` are other words in the model's own vocabulary.

    A vocabulary in another order is as large, and the model would be fed wrong words without a word. Only ids that it
    is fed count: siblings name reserved tokens otherwise, and add some. Differences are allowed where `measure.unlike`
    names tokenizer.
    """
    fed = np.unique(np.concatenate([np.asarray(row, np.int64) for row in ids])).tolist()
    model_words = load_tokenizer(checkpoint).convert_ids_to_tokens(fed)
    for token, fed_word, word in zip(fed, tokenizer.convert_ids_to_tokens(fed), model_words, strict=True):
        if fed_word == word:
            continue
        if "tokenizer" in load_unlike():
            return
        raise CollectionError(
            f"model {checkpoint.name}: token {token} is {word!r} in its own vocabulary and {fed_word!r} in that of "
            f"{tokenizer.name_or_path}, whose tokens it is fed: give it a reference with the same vocabulary, or add tokenizer "
            "to measure.unlike if this is what you compare"
        )
