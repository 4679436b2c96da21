"""Texts as token ids: prompts and what follows them, their padding, and the batches in which they pass through a model."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

# Position 0 is an attention sink, with or without a beginning-of-sequence token: its norm would rule the mean.
MASK = (
    "last_token: last real token; mean: real tokens without position 0 and special tokens; all_tokens: every real token"
)
PAD = 0  # any id: causal attention keeps padding on the right out of every real token


class CollectionError(ValueError):
    """Prompts and model do not fit; the message names the prompt, what was expected and the fix."""


class Tokens(NamedTuple):
    """The token ids of a task's texts, the same for every sibling of a family: prompts, and what may follow them."""

    prompt_ids: tuple[str, ...]
    ids: list[np.ndarray]
    """Token ids (length,) of each prompt and its continuation."""
    content: list[np.ndarray]
    """The tokens of each prompt that `mean` averages: bool (prompt length,)."""

    @property
    def lengths(self) -> np.ndarray:
        """Return the tokens of what passes through the model (n_prompts,)."""
        return np.array([len(ids) for ids in self.ids])

    @property
    def prompt_lengths(self) -> np.ndarray:
        """Return the tokens of the prompts alone (n_prompts,)."""
        return np.array([len(content) for content in self.content])

    def label(self, row: int) -> str:
        """Return what errors call the prompt in that row."""
        return f"prompt {self.prompt_ids[row]}"

    def subset(self, rows: Sequence[int]) -> Tokens:
        """Return the prompts ``rows``, in that order."""
        return Tokens(
            tuple(self.prompt_ids[r] for r in rows), [self.ids[r] for r in rows], [self.content[r] for r in rows]
        )

    def digest(self) -> str:
        """Return the SHA-256 over the lengths of prompts and texts, and all token ids."""
        stream = np.concatenate([self.prompt_lengths, self.lengths, *self.ids]).astype("<i8")
        return hashlib.sha256(stream.tobytes()).hexdigest()


def tokenise(
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    prompt_ids: Sequence[str],
    prompt_format: str = "plain",
    continuations: Sequence[str] | None = None,
) -> Tokens:
    """Return the token ids of ``prompts`` with the tokenizer's own special tokens, never truncated.

    ``prompt_format`` "plain" is the text as it is; "chat" puts it as the user's turn into the tokenizer's chat
    template, up to where the assistant begins. A continuation follows that, after a space if no white space stands
    there; it is tokenised apart, so that the prompt keeps its own ids. Raises CollectionError on a repeated id, on a
    prompt without a token that `mean` could average, and on a tokenizer without a chat template.
    """
    if len(set(prompt_ids)) < len(prompt_ids):
        repeated = next(i for i in prompt_ids if list(prompt_ids).count(i) > 1)
        raise CollectionError(f"prompt id {repeated} stands twice in the task file: every id must be unique")
    chat = prompt_format == "chat"
    texts = [_as_chat(tokenizer, prompt) for prompt in prompts] if chat else list(prompts)
    # A chat template writes its special tokens itself.
    encoded = tokenizer(texts, padding=False, truncation=False, add_special_tokens=not chat)["input_ids"]
    ids = [np.array(row, dtype=np.int64) for row in encoded]
    special = np.array(sorted(tokenizer.all_special_ids), dtype=np.int64)
    content = [~np.isin(row, special) & (np.arange(len(row)) > 0) for row in ids]
    for prompt, mask in zip(prompt_ids, content, strict=True):
        if not mask.any():
            raise CollectionError(
                f"prompt {prompt} has no token besides position 0 and special tokens: remove it from the task"
            )
    if continuations is not None:
        spaced = [_spaced(text, continuation) for text, continuation in zip(texts, continuations, strict=True)]
        more = tokenizer(spaced, padding=False, truncation=False, add_special_tokens=False)["input_ids"]
        ids = [np.concatenate([row, np.array(rest, dtype=np.int64)]) for row, rest in zip(ids, more, strict=True)]
    return Tokens(tuple(prompt_ids), ids, content)


def _spaced(text: str, continuation: str) -> str:
    """Return the continuation as it would go on from ``text``, after a space where no white space stands."""
    return continuation if text[-1].isspace() else f" {continuation}"


def _as_chat(tokenizer: PreTrainedTokenizerBase, prompt: str) -> str:
    if tokenizer.chat_template is None:
        raise CollectionError(
            f"the tokenizer in {tokenizer.name_or_path} has no chat template: leave out prompt_format: chat of this model "
            "in data/registry/models.yaml (base models have none)"
        )
    turn = [{"role": "user", "content": prompt}]
    return tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True)


def right_padded(rows: Sequence[Sequence[int] | np.ndarray]) -> tuple[Tensor, Tensor]:
    """Return token ids (n, longest), padded on the right, and the last real position (n,) of each row."""
    ids = torch.nn.utils.rnn.pad_sequence([torch.as_tensor(row) for row in rows], batch_first=True, padding_value=PAD)
    return ids, torch.tensor([len(row) - 1 for row in rows])


def batches(lengths: np.ndarray, tokens_per_batch: int) -> list[np.ndarray]:
    """Return the rows of each batch: longest first, rows x longest length within the budget (a longer row goes alone)."""
    # The largest batch comes first, so memory runs out at once or never.
    order = np.argsort(-lengths, kind="stable")  # (n,)
    result, start = [], 0
    while start < len(order):
        rows = max(1, tokens_per_batch // int(lengths[order[start]]))
        result.append(order[start : start + rows])
        start += rows
    return result


def token_offsets(tokens: Tokens) -> np.ndarray:
    """Return the row bounds (n_prompts + 1,) of the prompts in all_tokens."""
    return np.concatenate([[0], np.cumsum(tokens.prompt_lengths)])
