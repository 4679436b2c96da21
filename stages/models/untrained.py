"""A model before any training, as its configuration draws it."""

from __future__ import annotations

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from stages.models.checkpoint import Checkpoint
from stages.models.loading import DTYPES, device, load_config


def untrained_model(checkpoint: Checkpoint, precision: str, seed: int) -> PreTrainedModel:
    """Return the architecture of ``checkpoint`` with random weights of its own initialisation, in evaluation mode.

    The model shows what the architecture does by itself. Quantised weights do not exist untrained: their arithmetic's
    type is taken. The random state of torch is left as it was.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(load_config(checkpoint), dtype=DTYPES[precision])
    return model.to(device()).eval().requires_grad_(False)
