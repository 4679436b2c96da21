"""The smoke record: one look at a loaded model, before hours are spent on it."""

from __future__ import annotations

import time
from itertools import cycle, islice

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from stages.activations.generation import generate
from stages.activations.tokens import Tokens, text_ids
from stages.models.capture import capture, self_test, text_config
from stages.models.checkpoint import Checkpoint, ModelError, weight_files
from stages.models.loading import load_model, load_tokenizer

PROMPT = "The capital of France is"
NEW_TOKENS = 16
PASSAGE = (
    "Water covers most of the Earth, but only a small part of it is fresh. It rises from the sea as vapour, gathers in "
    "clouds, falls as rain or snow, and runs back in rivers. In 1931, at least 12 towns drew all they needed from wells: "
    "x = 3 * (4 + 5) litres a day, they said, and no more."
)
TOKENS = 256


def smoke_record(checkpoint: Checkpoint, precision: str) -> dict[str, object]:
    """Return what the model is, how fast it runs, what it says and how large its residual stream is.

    The record is `metrics/fetch/{slug}.json`, but for `same_weights_as`, which `fetch` adds. Raises CaptureError where
    the capture map does not fit the model, ModelError where the model or its tokenizer cannot be used or its residual
    stream is not finite.
    """
    tokenizer = load_tokenizer(checkpoint)
    prompt, passage = encode(tokenizer, PROMPT), encode(tokenizer, PASSAGE)
    model = load_model(checkpoint, precision)
    self_test(model)
    config = text_config(model)
    length = min(TOKENS, config.max_position_embeddings)
    norms, seconds = residual_norms(model, list(islice(cycle(passage), length)))
    return {
        "architecture": checkpoint.architecture,
        "layers": config.num_hidden_layers,
        "width": config.hidden_size,
        "parameters": model.num_parameters(),
        "stored_as": ", ".join(stored_types(checkpoint)),
        "precision": precision,
        "device": model.device.type,
        "self_test": "passed",
        "tokens_per_second": float(f"{length / seconds:.2g}"),  # of a busy machine: more digits would mean nothing
        "completion": complete(model, tokenizer, prompt),
        "residual_norms": summarise(norms),
    }


def encode(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Return the token ids of ``text``, at least one; raises ModelError where the tokenizer in its folder fails."""
    try:
        (ids,) = text_ids(tokenizer, [text])
    except Exception as error:  # tokenizers raises bare Exceptions
        raise ModelError(f"the tokenizer in {tokenizer.name_or_path} cannot encode {text[:24]!r}: {error}") from error
    if not ids:
        raise ModelError(f"the tokenizer in {tokenizer.name_or_path} gives no token for {text[:24]!r}: fetch it again")
    return ids


@torch.inference_mode()
def residual_norms(model: PreTrainedModel, ids: list[int]) -> tuple[Tensor, float]:
    """Return the Euclidean norms of resid_post (layers, tokens) in one pass over ``ids``, and its seconds."""
    with capture(model, ["resid_post"], keep=lambda hidden: hidden[0].double().norm(dim=-1).cpu()) as norms:
        start = time.perf_counter()
        model(input_ids=torch.tensor([ids], device=model.device), use_cache=False)
        seconds = time.perf_counter() - start  # the norms are on the CPU: the pass is over
    return torch.stack(list(norms.values())), seconds


def summarise(norms: Tensor) -> dict[str, float]:
    """Return the median and largest norm, and the largest over the median of a layer, in the worst layer.

    Position 0 is an attention sink: without it the ratio tells of massive activations elsewhere.
    Raises ModelError on a norm (layers, tokens) that is not finite.
    """
    if not torch.isfinite(norms).all():
        layer = int((~torch.isfinite(norms)).any(dim=1).nonzero()[0])
        raise ModelError(
            f"the residual stream is not finite from layer {layer} on: check the weights, or choose float32 or bfloat16"
        )
    median = norms.median(dim=1).values  # (layers,)
    return {
        "median": median.median().item(),
        "largest": norms.max().item(),
        "largest_over_median": (norms.max(dim=1).values / median).max().item(),
        "largest_over_median_after_position_0": (norms[:, 1:].max(dim=1).values / median).max().item(),
    }


def complete(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompt: list[int]) -> str:
    """Return the greedy completion of ``prompt``, `NEW_TOKENS` long or up to an end token."""
    texts = Tokens((repr(PROMPT),), [np.array(prompt)], [])
    (completion,) = generate(model, texts, NEW_TOKENS, tokenizer.eos_token_id, seed=None)
    return tokenizer.decode(completion)


def stored_types(checkpoint: Checkpoint) -> list[str]:
    """Return the number formats in the weight files, such as BF16 or Q4_K; those of integer buffers left out."""
    if checkpoint.gguf is not None:
        from gguf import GGUFReader  # only GGUF files need it

        return sorted({tensor.tensor_type.name for tensor in GGUFReader(checkpoint.folder / checkpoint.gguf).tensors})
    types = set()
    for path in weight_files(checkpoint.folder):
        with safe_open(path, framework="pt") as file:
            names = file.keys()
            types |= {file.get_slice(name).get_dtype() for name in names}
    return sorted(name for name in types if name.startswith(("F", "BF")))
