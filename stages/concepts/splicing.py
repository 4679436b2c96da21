"""The loss of a language model whose middle states are replaced: by a reconstruction, by their mean, by 0."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import PreTrainedModel

from stages.activations.tokens import batches, right_padded
from stages.concepts.interrupted_pass import edited
from stages.models.capture import base_model
from stages.models.head import head_of


@torch.inference_mode()
def cross_entropy(
    model: PreTrainedModel,
    layer: int,
    rows: Sequence[np.ndarray],
    special: Sequence[int],
    tokens_per_batch: int,
    replace: Callable[[Tensor], Tensor] | None = None,
) -> float:
    """Return the mean nats of the next token over content tokens, with the states (n, d) after block ``layer`` put through ``replace``.

    Position 0, an attention sink, and special tokens keep their states, and what follows them is not counted: an
    autoencoder never saw them. Raises ValueError where no token is counted.
    """
    lost, count = 0.0, 0
    marks = torch.tensor(list(special))
    for batch in batches(np.array([len(row) for row in rows]), tokens_per_batch):
        ids, last = right_padded([rows[row] for row in batch])
        place = torch.arange(ids.shape[1])
        content = ((place > 0) & (place <= last[:, None]) & ~torch.isin(ids, marks)).to(model.device)
        counted = content & (place < last[:, None]).to(model.device)  # a next token follows
        ids = ids.to(model.device)

        def edit(hidden: Tensor, content: Tensor = content) -> Tensor:
            if replace is None:
                return hidden
            hidden = hidden.clone()
            hidden[content] = replace(hidden[content].float()).to(hidden)
            return hidden

        with edited(model, layer, edit):
            final = base_model(model)(input_ids=ids, use_cache=False).last_hidden_state
        logits = head_of(model).logits(final[:, :-1][counted[:, :-1]])  # (tokens, vocabulary)
        lost += F.cross_entropy(logits, ids[:, 1:][counted[:, :-1]], reduction="sum").item()
        count += int(counted.sum())
    if not count:
        raise ValueError(f"{len(rows)} rows without two content tokens in succession: expected text")
    return lost / count


def recovered(clean: float, spliced: float, ablated: float) -> float:
    """Return the share of the loss that the ablation adds which the reconstruction does not: 1 as good as the states, 0 as the ablation."""
    return (ablated - spliced) / (ablated - clean)
