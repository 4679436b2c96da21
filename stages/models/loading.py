"""Load a checkpoint for measuring: explicit precision, safetensors only, no code from a repository."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import logging as transformers_logging

from stages.models.checkpoint import ModelError, weight_files

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
"""Never float16: residuals of models trained in bfloat16 exceed its 65 504."""


def device() -> torch.device:
    """The device named by the environment variable DEVICE; by default the GPU where there is one."""
    name = os.environ.get("DEVICE") or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:  # torch asserts that it was built for CUDA
        raise ModelError(
            f"the environment variable DEVICE is {name!r}, which torch cannot use here: set it to cpu or cuda ({error})"
        ) from error


def load_model(folder: Path, dtype: str, on: torch.device | None = None) -> PreTrainedModel:
    """The causal language model in ``folder``, in evaluation mode.

    ``dtype`` is explicit because transformers otherwise takes the stored one: Pythia would come in
    float16, and siblings stored in unlike precisions would be compared. Eager attention, because
    forward-mode derivatives fail under the fused kernels. Raises ModelError on missing or misfitting weights.
    """
    if dtype not in DTYPES:
        raise ModelError(
            f"dtype {dtype!r}: expected one of {', '.join(DTYPES)} (float16 overflows at 65 504); set collect.dtype in params.yaml"
        )
    weight_files(folder)  # says better than transformers what is missing
    transformers_logging.disable_progress_bar()
    try:
        model, report = AutoModelForCausalLM.from_pretrained(
            folder, dtype=DTYPES[dtype], attn_implementation="eager", use_safetensors=True,
            trust_remote_code=False, local_files_only=True, output_loading_info=True,
        )  # fmt: skip
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise ModelError(f"{folder} cannot be loaded as a causal language model: {error}") from error
    # Left at their random values, missing weights would be measured as if they were the model's.
    if missing := sorted(report["missing_keys"]):
        raise ModelError(
            f"{folder}: {len(missing)} weights are missing from the safetensors files, e.g. {missing[0]}: copy or fetch the checkpoint again"
        )
    return model.eval().requires_grad_(False).to(on or device())


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """The tokenizer in ``folder``."""
    try:
        return AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    except (OSError, ValueError) as error:
        raise ModelError(f"{folder} has no usable tokenizer (expected tokenizer.json): {error}") from error
