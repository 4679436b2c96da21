"""Checkpoints loaded for measuring: explicit precision, safetensors or GGUF only, no code from a repository."""

from __future__ import annotations

import logging
import os
import struct
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import (
    CONFIG_MAPPING,
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    GgufConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging as transformers_logging

from stages.models.checkpoint import Checkpoint, ModelError, read_config, weight_files

# Types of the arithmetic and of what is not quantised. Never float16: residuals of models trained in bfloat16 exceed 65 504.
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "int8": torch.bfloat16, "nf4": torch.bfloat16}
PRECISIONS = tuple(DTYPES)
QUANTISED = ("int8", "nf4")
# Errors of the libraries on files that are truncated or not what they say.
UNREADABLE = (OSError, ValueError, RuntimeError, LookupError, struct.error, SafetensorError)
log = logging.getLogger(__name__)


def device() -> torch.device:
    """Return the device that the environment variable DEVICE names; by default, and for auto, the GPU where there is one.

    Raises ModelError on a name that torch cannot use here.
    """
    name = os.environ.get("DEVICE", "auto")
    if name in ("", "auto"):
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:  # torch asserts that it was built for CUDA
        raise ModelError(
            f"the environment variable DEVICE is {name!r}, which torch cannot use here: set it to cpu, cuda or auto ({error})"
        ) from error


def load_model(
    checkpoint: Checkpoint, precision: str, attention: str = "sdpa", target: torch.device | None = None
) -> PreTrainedModel:
    """Return the causal language model of ``checkpoint``, in evaluation mode, its weights read straight to the device.

    ``precision`` is explicit because transformers otherwise takes the stored one: Pythia would come in
    float16, and siblings stored in unlike precisions would be compared. int8 and nf4 quantise the linear layers
    of the blocks with bitsandbytes; embeddings, norms, head and arithmetic stay in bfloat16. (int8 leaves a column
    of its inputs in bfloat16 where any token of the batch exceeds 6: its results depend a little on the batch.)
    A GGUF file is dequantised.
    ``attention`` "eager" is for forward-mode derivatives, which fail under the fused kernels of "sdpa".
    ``target`` is a device in place of `device`. With DEVICE=auto a model larger than one device is spread over all of
    them.
    Raises ModelError on missing, misfitting or left-over weights.
    """
    if precision not in PRECISIONS:
        raise ModelError(
            f"precision {precision!r}: expected one of {', '.join(PRECISIONS)} (float16 overflows at 65 504); "
            "set collect.precision in params.yaml, or precision of the model in data/registry/models.yaml"
        )
    weight_files(checkpoint.folder, checkpoint.gguf)  # says better than transformers what is missing
    options = {
        "config": load_config(checkpoint),
        "dtype": DTYPES[precision],
        "device_map": _placement(target),
        "quantization_config": _quantisation(checkpoint, precision),
        # None is sdpa where the architecture has it; "sdpa" itself is an error where it has not (Gemma 2).
        "attn_implementation": None if attention == "sdpa" else attention,
    }
    model = _read(checkpoint, options)
    implementation = model.config.get_text_config()._attn_implementation
    if implementation != attention:
        family = model.config.model_type
        log.warning("%s: %s has no %s attention, %s is used", checkpoint.name, family, attention, implementation)
    return model.eval().requires_grad_(False)


def _read(checkpoint: Checkpoint, options: dict[str, Any]) -> PreTrainedModel:
    """Read the model with all its weights and no others; raise ModelError where they do not fit."""
    transformers_logging.disable_progress_bar()
    try:
        model, report = AutoModelForCausalLM.from_pretrained(
            checkpoint.folder,
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
            ignore_mismatched_sizes=True,  # misfits are named below
            output_loading_info=True,
            **_gguf_file(checkpoint),
            **options,
        )
    except UNREADABLE as error:
        raise ModelError(f"{_source(checkpoint)} cannot be loaded as a causal language model: {error}") from error
    wrong = {
        "missing from": report["missing_keys"],
        "in excess in": [*report["unexpected_keys"], *_dropped_tensors(checkpoint, model)],
        "of another shape in": [name for name, *_ in report["mismatched_keys"]],
    }
    # Left at their random values, missing weights would be measured as if they were the model's.
    fix = "copy or fetch the checkpoint again" if checkpoint.gguf is None else "take its safetensors in place of GGUF"
    for mismatch, names in wrong.items():
        if names:
            raise ModelError(
                f"{_source(checkpoint)}: {len(names)} weights are {mismatch} the weight files, e.g. {sorted(names)[0]}: the "
                f"files and the architecture do not belong together; {fix}"
            )
    return model


def load_config(checkpoint: Checkpoint) -> PreTrainedConfig:
    """Return the configuration, from config.json or the header of the GGUF file; raise ModelError where it is unusable."""
    if checkpoint.gguf is not None:
        _require_package("gguf")
        try:
            return AutoConfig.from_pretrained(
                checkpoint.folder, trust_remote_code=False, local_files_only=True, **_gguf_file(checkpoint)
            )
        except UNREADABLE as error:
            raise ModelError(
                f"{_source(checkpoint)} cannot be read, copy or convert it again: {type(error).__name__} {error}"
            ) from error
    content = read_config(checkpoint.folder)
    if content.get("model_type") not in CONFIG_MAPPING:
        raise ModelError(
            f"{checkpoint.folder} cannot be loaded: model_type {content.get('model_type')!r} is unknown to transformers"
        )
    if content.pop("quantization_config", None) is not None:
        raise ModelError(
            f"{checkpoint.folder} holds weights quantised beforehand, whose precision could not be compared: take the "
            "unquantised checkpoint, and set precision in data/registry/models.yaml"
        )
    return CONFIG_MAPPING[content["model_type"]].from_dict(content)


def load_tokenizer(checkpoint: Checkpoint) -> PreTrainedTokenizerBase:
    """Return the tokenizer of ``checkpoint``; raise ModelError where it is unusable."""
    config = load_config(checkpoint)
    try:
        return AutoTokenizer.from_pretrained(
            checkpoint.folder, config=config, trust_remote_code=False, local_files_only=True, **_gguf_file(checkpoint)
        )
    except UNREADABLE as error:
        raise ModelError(f"{_source(checkpoint)} has no usable tokenizer (expected tokenizer.json): {error}") from error


def _placement(target: torch.device | None) -> str | dict[str, torch.device]:
    """Return the `device_map` of transformers: one device for all, or auto for accelerate to choose."""
    return "auto" if target is None and os.environ.get("DEVICE") == "auto" else {"": target or device()}


def _quantisation(checkpoint: Checkpoint, precision: str) -> BitsAndBytesConfig | GgufConfig | None:
    if checkpoint.gguf is not None:
        if precision in QUANTISED:
            raise ModelError(
                f"{_source(checkpoint)}: a GGUF file is dequantised, not quantised again: set precision to float32 or bfloat16"
            )
        return GgufConfig(dequantize=True)
    if precision not in QUANTISED:
        return None
    _require_package("bitsandbytes")
    if precision == "nf4":
        return BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=DTYPES[precision]
        )
    # It warns of every layer in every pass that bfloat16 is rounded to float16.
    logging.getLogger("bitsandbytes.autograd._functions").setLevel(logging.ERROR)
    return BitsAndBytesConfig(load_in_8bit=True)


def _require_package(name: str) -> None:
    if find_spec(name) is None:
        raise ModelError(
            f"this model needs the package {name}, which is not installed: pip install -r requirements.txt"
        )


def _dropped_tensors(checkpoint: Checkpoint, model: PreTrainedModel) -> list[str]:
    """Return what transformers leaves out of a GGUF file without a word: unknown tensors, scaled rotary frequencies.

    The file of Llama 3.1 has both, and without them it is another model.
    """
    if checkpoint.gguf is None:
        return []
    from gguf import GGUFReader  # only GGUF files need it
    from transformers.modeling_gguf_pytorch_utils import TensorProcessor, get_gguf_hf_weights_map

    reader = GGUFReader(checkpoint.folder / checkpoint.gguf)
    weights_map = get_gguf_hf_weights_map(model, TensorProcessor())
    unknown = [tensor.name for tensor in reader.tensors if tensor.name not in weights_map]
    scalings = [(name, field) for name, field in reader.fields.items() if name.endswith("rope.scaling.type")]
    return unknown + [name for name, field in scalings if field.contents() != "none"]


def _gguf_file(checkpoint: Checkpoint) -> dict[str, str]:
    """Return the option that names the GGUF file, by its absolute path.

    Transformers would look for a bare name in the working directory first.
    """
    return {} if checkpoint.gguf is None else {"gguf_file": str((checkpoint.folder / checkpoint.gguf).resolve())}


def _source(checkpoint: Checkpoint) -> Path:
    return checkpoint.folder if checkpoint.gguf is None else checkpoint.folder / checkpoint.gguf
