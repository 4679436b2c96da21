"""The tables of a probed checkpoint: its models are loaded, and a record says why where nothing can be measured."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd
import torch

from stages.activations.tokens import Tokens
from stages.models.checkpoint import Checkpoint
from stages.models.loading import QUANTISED, device, load_config, load_model
from stages.paradigms.params import ProbeParams
from stages.paradigms.perturbation import PerturbationError, update
from stages.paradigms.sensitivity_records import missing_means, prompt_means, prompt_values
from stages.paradigms.tables import PROBE_TABLES
from stages.paradigms.weight_records import ITS_OWN_REFERENCE, missing_records, update_records

log = logging.getLogger(__name__)


def probe_sensitivity(
    checkpoint: Checkpoint, base: Checkpoint, tokens: Mapping[str, Tokens], params: ProbeParams
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the tables `sensitivity` and `records` of ``checkpoint``, in float32 whatever it is measured in elsewhere."""
    common = {"model": checkpoint.name, "reference": base.name}
    if checkpoint.precision in QUANTISED:
        reason = f"quantised ({checkpoint.precision}): derivatives would be those of rounding"
        layers = load_config(checkpoint).get_text_config().num_hidden_layers
        return PROBE_TABLES.typed("sensitivity", []), missing_means(list(tokens), layers, reason, params, common)
    # One device even where DEVICE=auto would spread the model: derivatives are not taken across devices.
    values = prompt_values(load_model(checkpoint, "float32", "eager", target=device()), tokens, params, common)
    return values, prompt_means(values, params)


def probe_weights(checkpoint: Checkpoint, base: Checkpoint, params: ProbeParams) -> tuple[pd.DataFrame, float]:
    """Return the table `weights` of the update from ``base``, and the displacement; NaN where no update can be measured."""
    common = {"model": checkpoint.name, "reference": base.name}
    reason = ITS_OWN_REFERENCE if checkpoint.name == base.name else ""
    if {checkpoint.precision, base.precision} & set(QUANTISED):
        reason = reason or "quantised: rounding would count as update"
    delta: dict[str, torch.Tensor] = {}
    try:
        delta = {} if reason else update(base, checkpoint)
    except PerturbationError as error:  # a GGUF file beside safetensors, or another architecture
        log.warning("%s: no weight update: %s", checkpoint.name, error)
        reason = str(error)
    weights = _arrays(load_model(base, "float32", target=torch.device("cpu")).named_parameters())
    if reason:
        return missing_records(weights, reason, params, common), float("nan")
    return update_records(weights, _arrays(delta.items()), params, common)


def _arrays(tensors: Iterable[tuple[str, torch.Tensor]]) -> dict[str, np.ndarray]:
    return {name: tensor.detach().numpy() for name, tensor in tensors}
