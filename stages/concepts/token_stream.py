"""Middle states of a model over a text, in mixed portions: what autoencoders are trained on, without storing them all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from stages.activations.tokens import batches
from stages.concepts.intervention import edited, padded
from stages.models.capture import base_model


class _Read(Exception):
    """Ends a forward pass whose later blocks nobody reads."""


@torch.inference_mode()
def states_after(model: PreTrainedModel, layer: int | None, ids: Tensor) -> Tensor:
    """(batch, tokens, d) float32 after block ``layer``, with later blocks not run; None: final states, the head's input."""
    if layer is None:
        return base_model(model)(input_ids=ids.to(model.device), use_cache=False).last_hidden_state.float()
    kept: list[Tensor] = []

    def keep(hidden: Tensor) -> Tensor:
        kept.append(hidden.float())
        raise _Read

    with edited(model, layer, keep), suppress(_Read):
        base_model(model)(input_ids=ids.to(model.device), use_cache=False)
    return kept[0]


def content_states(
    model: PreTrainedModel, layer: int | None, rows: Sequence[np.ndarray], special: Sequence[int], tokens_per_batch: int
) -> Tensor:
    """(tokens, d) on the CPU of all rows of token ids, without position 0, an attention sink, and special tokens."""
    found: dict[int, Tensor] = {}
    for batch in batches(np.array([len(row) for row in rows]), tokens_per_batch):
        ids, last = padded([rows[row] for row in batch])
        place = torch.arange(ids.shape[1])
        content = (place > 0) & (place <= last[:, None]) & ~torch.isin(ids, torch.tensor(list(special)))
        states = states_after(model, layer, ids).cpu()
        found |= {int(row): state[kept] for row, state, kept in zip(batch, states, content, strict=True)}
    return torch.cat([found[row] for row in range(len(rows))])


def end_states(model: PreTrainedModel, layer: int | None, rows: Sequence[np.ndarray], tokens_per_batch: int) -> Tensor:
    """(rows, d) on the CPU of the last token of each row."""
    found: dict[int, Tensor] = {}
    for batch in batches(np.array([len(row) for row in rows]), tokens_per_batch):
        ids, last = padded([rows[row] for row in batch])
        states = states_after(model, layer, ids).cpu()
        found |= {int(row): state[end] for row, state, end in zip(batch, states, last, strict=True)}
    return torch.stack([found[row] for row in range(len(rows))])


def stream(
    model: PreTrainedModel, layer: int, documents: Sequence[np.ndarray], special: Sequence[int], tokens_per_batch: int,
    buffer: int, seed: int, start: int = 0,
) -> Iterator[Tensor]:  # fmt: skip
    """Portions (buffer, d) without end, from number ``start`` on: each of whole documents, its tokens mixed.

    Documents come in an order of their own in every pass over the text. A portion depends on its number, the seed and
    the documents only, so that a run goes on where it was cut off; of its mixed tokens those beyond ``buffer``, less than a
    document, are dropped.
    """
    order, number = _passes(len(documents), seed), 0
    lengths = [int((~np.isin(ids[1:], special)).sum()) for ids in documents]
    if not sum(lengths):
        raise ValueError(f"{len(documents)} documents without a content token: expected text to train on")
    while True:
        chosen, tokens = [], 0
        while tokens < buffer:
            chosen.append(next(order))
            tokens += lengths[chosen[-1]]
        if number >= start:
            states = content_states(model, layer, [documents[i] for i in chosen], special, tokens_per_batch)
            mixed = torch.randperm(len(states), generator=torch.Generator().manual_seed(hash_of(seed, number)))
            yield states[mixed[:buffer]]
        number += 1


def hash_of(seed: int, number: int) -> int:
    """A seed of its own for each portion."""
    return int(np.random.SeedSequence([seed, number]).generate_state(1)[0])


def _passes(count: int, seed: int) -> Iterator[int]:
    """All documents in random order, again and again."""
    generator = np.random.default_rng(seed)
    while True:
        yield from generator.permutation(count).tolist()
