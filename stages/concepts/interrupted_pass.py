"""Forward passes that are interrupted in the middle: the residual stream is read or changed there, then they go on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from stages.activations.tokens import right_padded
from stages.concepts.head import head_of
from stages.models.capture import base_model, blocks_of
from stages.models.sites import family_of


@contextmanager
def edited(model: PreTrainedModel, layer: int, edit: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Put the output (batch, tokens, d) of block ``layer`` through ``edit``, inside the context; later blocks read that."""

    def hook(_module, _inputs, output):
        hidden = edit(output[0] if isinstance(output, tuple) else output)
        return (hidden, *output[1:]) if isinstance(output, tuple) else hidden

    handle = blocks_of(model, family_of(model.config))[layer].register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


class Prefix(NamedTuple):
    """The contexts on their way through the model, as far as the block that is intervened on."""

    ids: Tensor
    """(C, longest) token ids, padded on the right."""
    last: Tensor
    """(C,) position of each context's end."""
    hidden: Tensor
    """(C, longest, d) states after block `layer`."""
    layer: int
    """The block that is intervened on."""
    wrapped: bool
    """Whether blocks of this family give a tuple."""

    @property
    def ends(self) -> Tensor:
        """Return (C, d) float32 the states at the contexts' ends."""
        return self.hidden[torch.arange(len(self.last)), self.last].float()


@torch.inference_mode()
def run_prefix(model: PreTrainedModel, rows: Sequence[np.ndarray], layer: int) -> Prefix:
    """Run contexts (token ids) through the model, and keep the states after block ``layer``."""
    ids, last = (part.to(model.device) for part in right_padded(rows))
    outputs: list[tuple[Tensor, bool]] = []

    def hook(_module, _inputs, output):
        outputs.append((output[0], True) if isinstance(output, tuple) else (output, False))

    handle = blocks_of(model, family_of(model.config))[layer].register_forward_hook(hook)
    try:
        # No attention mask: causal attention keeps padding on the right out of every real token.
        base_model(model)(input_ids=ids, use_cache=False)
    finally:
        handle.remove()
    hidden, wrapped = outputs[0]
    return Prefix(ids, last, hidden, layer, wrapped)


@torch.inference_mode()
def last_logits(model: PreTrainedModel, prefix: Prefix, delta: Tensor | None = None) -> Tensor:
    """Return logits (C, vocabulary) of the token after each context; ``delta`` (C, d) is added at its end, after `layer`.

    Only the later blocks are run: the earlier ones do not know of the change.
    """
    hidden, contexts = prefix.hidden.clone(), torch.arange(len(prefix.last), device=prefix.hidden.device)
    if delta is not None:
        hidden[contexts, prefix.last] += delta.to(hidden)
    with _skipped_blocks(model, prefix, hidden):
        final = base_model(model)(input_ids=prefix.ids, use_cache=False).last_hidden_state[
            contexts, prefix.last
        ]  # (C, d)
    return head_of(model).logits(final)


@contextmanager
def _skipped_blocks(model: PreTrainedModel, prefix: Prefix, hidden: Tensor) -> Iterator[None]:
    """Let blocks up to ``prefix.layer`` give ``hidden`` without computing, inside the context."""
    skipped = list(blocks_of(model, family_of(model.config)))[: prefix.layer + 1]
    originals = [block.forward for block in skipped]
    given = (hidden,) if prefix.wrapped else hidden

    def give(*_arguments, **_options):
        return given

    for block in skipped:
        block.forward = give
    try:
        yield
    finally:
        for block, original in zip(skipped, originals, strict=True):
            block.forward = original
