"""One forward pass over the prompts of a task, for every site and every aggregation."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from stages.models.capture import base_model, capture, text_config

AGGREGATIONS = ("last_token", "mean", "all_tokens")
MASK = (
    "last_token: last real token; mean: real tokens without position 0 and special tokens; all_tokens: every real token"
)
"""Position 0 is an attention sink, with or without a beginning-of-sequence token: its norm would rule the mean."""
PAD = 0  # any id: causal attention and the mask keep padding on the right out of everything


class CollectionError(ValueError):
    """Prompts and model do not fit; the message names the prompt, what was expected and the fix."""


class Tokens(NamedTuple):
    """A task's prompts as token ids: the same for every sibling of a family."""

    prompt_ids: tuple[str, ...]
    ids: list[np.ndarray]
    """Per prompt: token ids (length,)."""
    content: list[np.ndarray]
    """Per prompt: bool (length,), the tokens that `mean` averages."""

    @property
    def lengths(self) -> np.ndarray:
        return np.array([len(ids) for ids in self.ids])

    def subset(self, rows: Sequence[int]) -> Tokens:
        return Tokens(
            tuple(self.prompt_ids[r] for r in rows), [self.ids[r] for r in rows], [self.content[r] for r in rows]
        )

    def digest(self) -> str:
        """SHA-256 over lengths and token ids."""
        stream = np.concatenate([self.lengths, *self.ids]).astype("<i8")
        return hashlib.sha256(stream.tobytes()).hexdigest()


Collected = dict[tuple[str, str], np.ndarray]
"""(aggregation, hook name) -> float32 (n_prompts, d_model); (total_tokens, d_model) for all_tokens. In prompt order."""


def tokenise(tokenizer: PreTrainedTokenizerBase, prompts: Sequence[str], prompt_ids: Sequence[str]) -> Tokens:
    """Token ids with the tokenizer's own special tokens, never truncated.

    Raises CollectionError on a repeated id, and on a prompt without a token that `mean` could average.
    """
    if len(set(prompt_ids)) < len(prompt_ids):
        repeated = next(i for i in prompt_ids if list(prompt_ids).count(i) > 1)
        raise CollectionError(f"prompt id {repeated} stands twice in the task file: every id must be unique")
    ids = [
        np.array(row, dtype=np.int64) for row in tokenizer(list(prompts), padding=False, truncation=False)["input_ids"]
    ]
    special = np.array(sorted(tokenizer.all_special_ids), dtype=np.int64)
    content = [~np.isin(row, special) & (np.arange(len(row)) > 0) for row in ids]
    for prompt, kept in zip(prompt_ids, content, strict=True):
        if not kept.any():
            raise CollectionError(
                f"prompt {prompt} has no token besides position 0 and special tokens: remove it from the task"
            )
    return Tokens(tuple(prompt_ids), ids, content)


def batches(lengths: np.ndarray, tokens_per_batch: int) -> list[np.ndarray]:
    """Rows of each batch: longest prompts first, rows x longest length within the budget (a longer prompt goes alone)."""
    order = np.argsort(
        -lengths, kind="stable"
    )  # (n,); the largest batch comes first, so memory runs out at once or never
    result, start = [], 0
    while start < len(order):
        rows = max(1, tokens_per_batch // int(lengths[order[start]]))
        result.append(order[start : start + rows])
        start += rows
    return result


def collect(
    model: PreTrainedModel,
    tokens: Tokens,
    sites: Sequence[str],
    aggregations: Sequence[str],
    tokens_per_batch: int,
    scratch: Path | None = None,
) -> Collected:
    """Activations of every site in every block, from a single pass per batch without the language-model head.

    Cost: one forward pass over the padded tokens. Memory: one batch, and n_prompts x d_model per dataset;
    all_tokens lies in files under ``scratch`` where that is given.
    Raises CollectionError when a prompt is longer than the model's positions or its ids are not in its vocabulary.
    """
    if unknown := sorted(set(aggregations) - set(AGGREGATIONS)):
        raise CollectionError(
            f"unknown aggregation {unknown[0]!r}: choose collect.aggregations from {', '.join(AGGREGATIONS)}"
        )
    _require_fit(model, tokens)
    offsets = token_offsets(tokens)
    store = _Store(len(tokens.ids), int(offsets[-1]), scratch)
    batch: _Batch | None = None

    def keep(hidden: Tensor) -> dict[str, Tensor]:
        return {aggregation: batch.reduce(aggregation, hidden) for aggregation in aggregations}

    with torch.inference_mode(), capture(model, sites, keep) as seen:
        for rows in tqdm(batches(tokens.lengths, tokens_per_batch), desc="batches", leave=False, disable=None):
            batch = _Batch(tokens.subset(rows), model.device)
            seen.clear()  # a hook that does not run must not repeat the last batch
            base_model(model)(input_ids=batch.ids, attention_mask=batch.real.long(), use_cache=False)
            token_rows = (
                np.concatenate([np.arange(offsets[r], offsets[r + 1]) for r in rows])
                if "all_tokens" in aggregations
                else None
            )
            for hook, reduced in seen.items():
                for aggregation, values in reduced.items():
                    store.put(aggregation, hook, token_rows if aggregation == "all_tokens" else rows, values)
    return store.values


def token_offsets(tokens: Tokens) -> np.ndarray:
    """Row bounds (n_prompts + 1,) of the prompts in all_tokens."""
    return np.concatenate([[0], np.cumsum(tokens.lengths)])


class _Batch:
    """Right-padded ids of some prompts, and the reductions over their tokens."""

    def __init__(self, tokens: Tokens, device: torch.device) -> None:
        length = int(tokens.lengths.max())
        ids = np.full((len(tokens.ids), length), PAD)
        content = np.zeros((len(tokens.ids), length), dtype=bool)
        for row, (prompt, kept) in enumerate(zip(tokens.ids, tokens.content, strict=True)):
            ids[row, : len(prompt)], content[row, : len(kept)] = prompt, kept
        lengths = torch.tensor(tokens.lengths, device=device)  # (batch,)
        self.ids = torch.tensor(ids, device=device)  # (batch, tokens)
        self.real = torch.arange(length, device=device) < lengths[:, None]  # (batch, tokens)
        self.last = lengths - 1  # (batch,)
        weights = torch.tensor(content, device=device, dtype=torch.float32)
        self.weights = weights / weights.sum(dim=1, keepdim=True)  # (batch, tokens), rows sum to 1

    def reduce(self, aggregation: str, hidden: Tensor) -> Tensor:
        """``hidden`` (batch, tokens, d_model) to (batch, d_model), or to (real tokens, d_model) for all_tokens."""
        if aggregation == "last_token":
            return hidden[torch.arange(len(self.last), device=hidden.device), self.last]
        if aggregation == "mean":
            return torch.einsum("bt,btd->bd", self.weights, hidden.float())
        return hidden[self.real]


class _Store:
    """Buffers in prompt order, made on first use."""

    def __init__(self, prompts: int, tokens: int, scratch: Path | None) -> None:
        self.values: Collected = {}
        self.prompts, self.tokens, self.scratch = prompts, tokens, scratch

    def put(self, aggregation: str, hook: str, rows: np.ndarray, values: Tensor) -> None:
        key = (aggregation, hook)
        if key not in self.values:
            self.values[key] = self._buffer(aggregation, hook, values.shape[-1])
        self.values[key][rows] = values.float().cpu().numpy()

    def _buffer(self, aggregation: str, hook: str, width: int) -> np.ndarray:
        rows = self.tokens if aggregation == "all_tokens" else self.prompts
        if aggregation == "all_tokens" and self.scratch is not None:
            return np.lib.format.open_memmap(
                self.scratch / f"{hook}.npy", mode="w+", dtype=np.float32, shape=(rows, width)
            )
        return np.full((rows, width), np.nan, np.float32)  # a row that no pass fills is caught by the quality gate


def _require_fit(model: PreTrainedModel, tokens: Tokens) -> None:
    """Every prompt fits into the model's positions and vocabulary."""
    config = text_config(model)
    longest = int(np.argmax(tokens.lengths))
    if tokens.lengths[longest] > config.max_position_embeddings:
        raise CollectionError(
            f"prompt {tokens.prompt_ids[longest]} has {tokens.lengths[longest]} tokens, the model {config.max_position_embeddings} positions: "
            "shorten the task's prompts (they are never truncated) or take a model with a longer context"
        )
    for prompt, ids in zip(tokens.prompt_ids, tokens.ids, strict=True):
        if ids.max() >= config.vocab_size:
            raise CollectionError(
                f"prompt {prompt} has token id {ids.max()}, the model's vocabulary ends at {config.vocab_size - 1}: "
                "model and reference must share a tokenizer; give it another reference in study.models"
            )
