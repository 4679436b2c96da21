"""The vocabulary: the rows of the unembedding that are words, and the single token that a word is."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import numpy as np
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from stages.activations.tokens import text_ids
from stages.models.checkpoint import ModelError

# The token of a byte, in tokenizers that fall back on bytes.
BYTE = re.compile(r"<0x([0-9A-F]{2})>")
# First bytes of characters of 2, 3 and 4 bytes: from, to (exclusive), bits that follow them, least code.
LEADING = ((0xC0, 0xE0, 6, 0x80), (0xE0, 0xF0, 12, 0x800), (0xF0, 0xF8, 18, 0x10000))


def emitted_ids(tokenizer: PreTrainedTokenizerBase, rows: int) -> np.ndarray:
    """Return the ids below ``rows`` that stand for text, ascending: what the tokenizer makes of some text, and no special token.

    Left out are special tokens, rows that only fill the matrix up to a round number, and entries of the vocabulary
    that merges never reach: their rows were never trained as words. The token of a byte (``<0x0A>``) stands for text
    where some character that is no token of its own has that byte.
    """
    special, added = set(tokenizer.all_special_ids), set(tokenizer.get_added_vocab().values())
    core, vocabulary = tokenizer.backend_tokenizer, tokenizer.get_vocab()
    has_bytes = all(f"<0x{byte:02X}>" in vocabulary for byte in range(256))

    def is_emitted(token: str, index: int) -> bool:
        byte = BYTE.fullmatch(token) if has_bytes else None
        if byte is None:
            return index in added or [piece.id for piece in core.model.tokenize(token)] == [index]
        characters = _characters_with(int(byte[1], 16))
        return any(index in core.encode(character, add_special_tokens=False).ids for character in characters)

    entries = [(token, index) for token, index in vocabulary.items() if index < rows]
    return np.array(
        sorted(index for token, index in entries if index not in special and is_emitted(token, index)), np.int64
    )


def _characters_with(byte: int) -> Iterator[str]:
    """Yield characters in whose UTF-8 the byte stands: itself, private ones that it ends, or all that it begins."""
    if byte < 0x80:
        yield chr(byte)
    elif byte < 0xC0:
        yield chr(0xF0000 + byte - 0x80)
    else:
        for first, end, bits, least in LEADING:
            if first <= byte < end:
                start = (byte - first) << bits
                codes = range(max(start, least), min(start + (1 << bits), 0x110000))
                yield from (chr(code) for code in codes if not 0xD800 <= code < 0xE000)


def single_tokens(tokenizer: PreTrainedTokenizerBase, prefix: str, words: Sequence[str]) -> dict[str, int | None]:
    """Return the id of each word after ``prefix`` and a space; None where it is several tokens, or changes the prefix's."""
    prefix_ids, *word_ids = text_ids(tokenizer, [prefix, *(f"{prefix} {word}" for word in words)])
    return {
        word: ids[-1] if ids[:-1] == prefix_ids and ids[-1] != tokenizer.unk_token_id else None
        for word, ids in zip(words, word_ids, strict=True)
    }


def unembedding(model: PreTrainedModel, ids: np.ndarray) -> np.ndarray:
    """Return the rows γ (ids, d) float32 of the matrix that makes logits of final states; ModelError where there is none."""
    head = model.get_output_embeddings()
    if head is None:
        raise ModelError(f"{type(model).__name__} has no unembedding: expected a causal language model")
    weight = head.weight.float()
    return weight[ids].cpu().numpy()
