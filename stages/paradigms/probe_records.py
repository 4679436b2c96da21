"""Probe a checkpoint against its reference: load what is needed, and say why where nothing can be measured."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd
import torch

from stages.activations.tokens import Tokens
from stages.models.checkpoint import Checkpoint
from stages.models.loading import QUANTISED, device, load_config, load_model
from stages.paradigms.params import Probe
from stages.paradigms.perturbation import PerturbationError, update
from stages.paradigms.sensitivity_records import missing_means, prompt_means, prompt_values
from stages.paradigms.tables import PROBE_TABLES
from stages.paradigms.weight_records import OWN, missing_records, update_records

log = logging.getLogger(__name__)


def probe_sensitivity(
    checkpoint: Checkpoint, base: Checkpoint, tokens: Mapping[str, Tokens], params: Probe
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The tables `sensitivity` and `records` of ``checkpoint``, in float32 whatever it is measured in elsewhere."""
    common = {"model": checkpoint.name, "reference": base.name}
    if checkpoint.precision in QUANTISED:
        reason = f"quantised ({checkpoint.precision}): derivatives would be those of rounding"
        layers = load_config(checkpoint).get_text_config().num_hidden_layers
        return PROBE_TABLES.typed("sensitivity", []), missing_means(list(tokens), layers, reason, params, common)
    # One device even where DEVICE=auto would spread the model: derivatives are not taken across devices.
    values = prompt_values(load_model(checkpoint, "float32", "eager", on=device()), tokens, params, common)
    return values, prompt_means(values, params)


def probe_weights(checkpoint: Checkpoint, base: Checkpoint, params: Probe) -> tuple[pd.DataFrame, float]:
    """The table `weights` of the update from ``base``, and the displacement; NaN where no update can be measured."""
    common = {"model": checkpoint.name, "reference": base.name}
    reason = OWN if checkpoint.name == base.name else ""
    if {checkpoint.precision, base.precision} & set(QUANTISED):
        reason = reason or "quantised: rounding would count as update"
    found: dict[str, torch.Tensor] = {}
    try:
        found = {} if reason else update(base, checkpoint)
    except PerturbationError as error:  # a GGUF file beside safetensors, or another architecture
        log.warning("%s: no weight update: %s", checkpoint.name, error)
        reason = str(error)
    weights = _arrays(load_model(base, "float32", on=torch.device("cpu")).named_parameters())
    if reason:
        return missing_records(weights, reason, params, common), float("nan")
    return update_records(weights, _arrays(found.items()), params, common)


def _arrays(tensors: Iterable[tuple[str, torch.Tensor]]) -> dict[str, np.ndarray]:
    return {name: tensor.detach().numpy() for name, tensor in tensors}
