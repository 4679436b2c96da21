"""The loss of a language model whose middle states are replaced: by a reconstruction, by their mean, by 0."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import PreTrainedModel

from stages.activations.massive_tokens import massive_tokens
from stages.activations.passes import run_batches
from stages.activations.tokens import Tokens, batches, right_padded
from stages.concepts.head import head_of
from stages.concepts.interrupted_pass import edited
from stages.models.capture import base_model


@torch.inference_mode()
def cross_entropy(
    model: PreTrainedModel,
    layer: int,
    rows: Sequence[np.ndarray],
    special: Sequence[int],
    tokens_per_batch: int,
    replace: Callable[[Tensor], Tensor] | None = None,
    limit: float = math.inf,
) -> float:
    """Return the mean nats of the next token over content tokens, with the states (n, d) after block ``layer`` put through ``replace``.

    Position 0, an attention sink, special tokens, and massive ones, of a norm above ``limit``, keep their states, and
    what follows them is not counted: an autoencoder never saw them. Raises ValueError where no token is counted, and
    CollectionError as `run_batches` does. Parameters: the model and its block, the text, how it is read, the splice.
    """
    texts = Tokens(tuple(str(row) for row in range(len(rows))), list(rows), [])
    splice = _Splice(model, layer, torch.tensor(list(special)), replace, limit)
    sums: list[tuple[float, int]] = []

    def lose(batch: np.ndarray) -> tuple[float, int]:
        return _lost(splice, [rows[row] for row in batch])

    def collect(_batch: np.ndarray, lost: tuple[float, int]) -> None:
        sums.append(lost)

    run_batches(model, texts, batches(texts.lengths, tokens_per_batch), tokens_per_batch, lose, collect)
    count = sum(tokens for _, tokens in sums)
    if not count:
        raise ValueError(f"{len(rows)} rows without two content tokens in succession: expected text")
    return sum(lost for lost, _ in sums) / count


class _Splice(NamedTuple):
    model: PreTrainedModel
    layer: int
    special: Tensor
    replace: Callable[[Tensor], Tensor] | None
    limit: float


def _lost(splice: _Splice, rows: Sequence[np.ndarray]) -> tuple[float, int]:
    """Return the nats of one batch, and the number of tokens that they are of."""
    model = splice.model
    ids, last = right_padded(rows)
    place = torch.arange(ids.shape[1])
    content = ((place > 0) & (place <= last[:, None]) & ~torch.isin(ids, splice.special)).to(model.device)
    follows = (place < last[:, None]).to(model.device)  # a next token
    ids = ids.to(model.device)

    def edit(hidden: Tensor) -> Tensor:
        content.logical_and_(~massive_tokens(hidden, splice.limit).to(content.device))
        if splice.replace is None:
            return hidden
        hidden, spliced = hidden.clone(), content.to(hidden.device)
        hidden[spliced] = splice.replace(hidden[spliced].float()).to(hidden)
        return hidden

    with edited(model, splice.layer, edit):
        final = base_model(model)(input_ids=ids, use_cache=False).last_hidden_state
    counted = (content & follows)[:, :-1]
    logits = head_of(model).logits(final[:, :-1][counted])  # (tokens, vocabulary)
    return F.cross_entropy(logits, ids[:, 1:][counted], reduction="sum").item(), int(counted.sum())


def recovered(clean: float, spliced: float, ablated: float) -> float:
    """Return the share of the loss that the ablation adds which the reconstruction does not: 1 as good as the states, 0 as the ablation."""
    return (ablated - spliced) / (ablated - clean)
