"""Change the residual stream in the middle of a model, and read the logits that follow."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from stages.activations.tokens import right_padded
from stages.models.capture import base_model, blocks_of, text_config
from stages.models.sites import family_of


@contextmanager
def edited(model: PreTrainedModel, layer: int, edit: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Inside the context the output of block ``layer`` (batch, tokens, d) is ``edit`` of it; later blocks read that."""

    def hook(_module, _inputs, output):
        hidden = edit(output[0] if isinstance(output, tuple) else output)
        return (hidden, *output[1:]) if isinstance(output, tuple) else hidden

    handle = blocks_of(model, family_of(model.config))[layer].register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


class Prefix(NamedTuple):
    """Contexts on their way through the model, as far as the block that is intervened on."""

    ids: Tensor
    """(C, longest)"""
    last: Tensor
    """(C,) position of each context's end"""
    hidden: Tensor
    """(C, longest, d) after that block"""
    layer: int
    wrapped: bool
    """Whether blocks of this family give a tuple."""

    @property
    def ends(self) -> Tensor:
        """(C, d) float32: the states at the contexts' ends."""
        return self.hidden[torch.arange(len(self.last)), self.last].float()


@torch.inference_mode()
def run_prefix(model: PreTrainedModel, rows: Sequence[np.ndarray], layer: int) -> Prefix:
    ids, last = (part.to(model.device) for part in right_padded(rows))
    kept: list[tuple[Tensor, bool]] = []

    def hook(_module, _inputs, output):
        kept.append((output[0], True) if isinstance(output, tuple) else (output, False))

    handle = blocks_of(model, family_of(model.config))[layer].register_forward_hook(hook)
    try:
        # No attention mask: causal attention keeps padding on the right out of every real token.
        base_model(model)(input_ids=ids, use_cache=False)
    finally:
        handle.remove()
    hidden, wrapped = kept[0]
    return Prefix(ids, last, hidden, layer, wrapped)


@torch.inference_mode()
def last_logits(model: PreTrainedModel, at: Prefix, delta: Tensor | None = None) -> Tensor:
    """Logits (C, vocabulary) of the token after each context; ``delta`` (C, d) is added at its end, after block `layer`.

    Only the later blocks are run: the earlier ones do not know of the change.
    """
    hidden, every = at.hidden.clone(), torch.arange(len(at.last), device=at.hidden.device)
    if delta is not None:
        hidden[every, at.last] += delta.to(hidden)
    with _entered(model, at, hidden):
        final = base_model(model)(input_ids=at.ids, use_cache=False).last_hidden_state[every, at.last]  # (C, d)
    return head(model, final)


@contextmanager
def _entered(model: PreTrainedModel, at: Prefix, hidden: Tensor) -> Iterator[None]:
    """Inside the context blocks up to ``at.layer`` do not compute: the last of them gives ``hidden``."""
    skipped = list(blocks_of(model, family_of(model.config)))[: at.layer + 1]
    originals = [block.forward for block in skipped]
    given = (hidden,) if at.wrapped else hidden

    def give(*_arguments, **_options):
        return given

    for block in skipped:
        block.forward = give
    try:
        yield
    finally:
        for block, original in zip(skipped, originals, strict=True):
            block.forward = original


def head(model: PreTrainedModel, final: Tensor) -> Tensor:
    """Logits (..., vocabulary) float32 of final states (..., d), with the soft cap of families that have one."""
    logits = model.get_output_embeddings()(final).float()
    cap = getattr(text_config(model), "final_logit_softcapping", None)
    return logits if cap is None else cap * torch.tanh(logits / cap)
