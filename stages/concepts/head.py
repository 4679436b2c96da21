"""The head of a language model: how it makes logits of final states, the states after the final norm."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from stages.geometry.information import LogitForm
from stages.models.capture import base_model, probe_ids, text_config
from stages.models.checkpoint import ModelError
from stages.models.sites import CaptureError

# The largest difference between the model's logits and ours, as a share of the largest logit.
TOLERANCE = 1e-3


class Head(NamedTuple):
    """A linear map, a factor and a soft cap c: logits z = c tanh(a u / c) of u = Γ λ + b; z = a u where there is no cap."""

    linear: nn.Module
    """Γ (V, d), and the bias b (V,) where the family has one."""
    scale: float
    """The factor a."""
    cap: float | None
    """The soft cap c."""

    def logits(self, states: Tensor) -> Tensor:
        """Return logits (..., V) float32 of final ``states`` (..., d)."""
        logits = self.linear(states).float()
        if self.scale != 1:
            logits = self.scale * logits
        return logits if self.cap is None else self.cap * torch.tanh(logits / self.cap)

    def unembedding(self, ids: np.ndarray) -> np.ndarray:
        """Return the rows γ (ids, d) float32 of Γ."""
        return self.linear.weight.detach().float()[ids].cpu().numpy()

    def form(self, ids: np.ndarray) -> LogitForm:
        """Return bias, factor and cap of the tokens ``ids``, for the geometry of logits."""
        bias = getattr(self.linear, "bias", None)
        return LogitForm(0.0 if bias is None else bias.detach().float()[ids].cpu().numpy(), self.scale, self.cap)


def head_of(model: PreTrainedModel) -> Head:
    """Return the head of ``model``; raise ModelError where it has none. `require_head` checks it against the model."""
    linear, config = model.get_output_embeddings(), text_config(model)
    if linear is None:
        raise ModelError(f"{type(model).__name__} has no unembedding: expected a causal language model")
    # Cohere's factor multiplies, Granite's divides.
    scale = getattr(config, "logit_scale", None) or 1 / (getattr(config, "logits_scaling", None) or 1)
    return Head(linear, scale, getattr(config, "final_logit_softcapping", None))


@torch.inference_mode()
def require_head(model: PreTrainedModel) -> None:
    """Raise CaptureError where the model's own logits, on a few probe tokens, are not those of `head_of`."""
    ids = probe_ids(model)
    logits = model(input_ids=ids, use_cache=False).logits.float()
    states = base_model(model)(input_ids=ids, use_cache=False).last_hidden_state
    error = (head_of(model).logits(states) - logits).abs().max() / logits.abs().max()
    if not error <= TOLERANCE:
        raise CaptureError(
            f"{model.config.model_type}: logits of the final states are off by {error.item():.2g} of the largest: the head "
            "does more than a linear map, a factor and a soft cap; add it to stages/concepts/head.py"
        )
