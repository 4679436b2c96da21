"""States of one layer over a text: all of its content, its ends, or an endless stream of mixed portions for training."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from stages.activations.massive_tokens import massive_tokens
from stages.activations.passes import FINAL_NORM
from stages.activations.token_rows import gather_rows
from stages.activations.tokens import Tokens
from stages.models.capture import StreamPoint, text_config


def content_states(
    model: PreTrainedModel, layer: int | None, rows: Sequence[np.ndarray], special: Sequence[int], tokens_per_batch: int
) -> Tensor:
    """Return the states (tokens, d), float32, after block ``layer`` of all ``rows`` of token ids, in their order.

    Position 0, an attention sink, and special tokens are left out. Later blocks do not run; None is the final state,
    after the final norm. Raises CollectionError as `run_passes` does.
    """
    chosen = [np.flatnonzero(~np.isin(row, special) & (np.arange(len(row)) > 0)) for row in rows]
    return _layer_rows(model, layer, rows, chosen, tokens_per_batch)


def end_states(model: PreTrainedModel, layer: int | None, rows: Sequence[np.ndarray], tokens_per_batch: int) -> Tensor:
    """Return the states (rows, d), float32, of the last token of each row; ``layer`` as in `content_states`."""
    return _layer_rows(model, layer, rows, [np.array([len(row) - 1]) for row in rows], tokens_per_batch)


def _layer_rows(
    model: PreTrainedModel,
    layer: int | None,
    rows: Sequence[np.ndarray],
    chosen: Sequence[np.ndarray],
    tokens_per_batch: int,
) -> Tensor:
    """Return the ``chosen`` tokens of each row at one layer."""
    final = StreamPoint(FINAL_NORM, text_config(model).num_hidden_layers - 1)
    point = final if layer is None else StreamPoint("resid_post", layer)
    texts = Tokens(tuple(str(row) for row in range(len(rows))), list(rows), [])
    return torch.from_numpy(gather_rows(model, texts, chosen, [point], tokens_per_batch)[0])


def stream(
    model: PreTrainedModel,
    layer: int,
    documents: Sequence[np.ndarray],
    special: Sequence[int],
    tokens_per_batch: int,
    buffer: int,
    seed: int,
    start: int = 0,
    limit: float = math.inf,
) -> Iterator[Tensor]:
    """Yield portions (buffer, d) without end, from number ``start`` on: each of whole documents, its tokens mixed.

    Every pass over the text has its own order of documents. A portion depends on its number, the seed and the
    documents only, so that a run goes on where it was cut off; of its mixed tokens those beyond ``buffer``, less than a
    document, are dropped. Massive tokens, of a norm above ``limit``, are left out; where too few are left, the first
    ones of the portion come again. Raises ValueError on documents without a content token, and on a portion of massive
    ones alone. Parameters: the first five are those of `content_states`, the others say how the stream is cut.
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
            states = states[~massive_tokens(states, limit)]
            if not len(states):
                raise ValueError(
                    f"all {tokens} tokens of portion {number} have norms above {limit:g}: expected other text"
                )
            mixed = torch.randperm(len(states), generator=torch.Generator().manual_seed(portion_seed(seed, number)))
            yield states[mixed.repeat(-(-buffer // len(states)))[:buffer]]
        number += 1


def portion_seed(seed: int, number: int) -> int:
    """Return the seed of portion ``number``."""
    return int(np.random.SeedSequence([seed, number]).generate_state(1)[0])


def _passes(count: int, seed: int) -> Iterator[int]:
    """Yield the numbers of all documents in random order, again and again."""
    generator = np.random.default_rng(seed)
    while True:
        yield from generator.permutation(count).tolist()
