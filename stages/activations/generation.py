"""Completions of prompts: sampling is what the caller says, whatever settings a model ships."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from transformers import GenerationConfig, PreTrainedModel

from stages.activations.passes import Texts, require_fit, switch_lengths
from stages.activations.tokens import PAD, left_padded


@torch.inference_mode()
def generate(
    model: PreTrainedModel, prompts: Texts, new_tokens: int, end_token: int | None, seed: int | None
) -> list[list[int]]:
    """Return the token ids that follow each prompt, up to ``end_token``, which is included, or ``new_tokens`` of them.

    They are sampled from the model's distribution at temperature 1; without a ``seed`` the likeliest are taken. The
    random stream depends on the seed and the batch alone; the caller's stream is left as it was. Raises
    CollectionError as `require_fit` does, on prompts that leave no room for ``new_tokens``.
    """
    require_fit(model, prompts, new_tokens=new_tokens)
    completions: list[list[int]] = [[]] * len(prompts.ids)
    sampling = (
        {"do_sample": False} if seed is None else {"do_sample": True, "temperature": 1.0, "top_k": 0, "top_p": 1.0}
    )
    with torch.random.fork_rng(enabled=seed is not None), _plain_settings(model):
        if seed is not None:
            torch.manual_seed(seed)
        for rows in _batches(model, prompts, new_tokens):
            ids, mask = (part.to(model.device) for part in left_padded([prompts.ids[row] for row in rows]))
            output = model.generate(
                input_ids=ids,
                attention_mask=mask,
                max_new_tokens=new_tokens,
                pad_token_id=PAD,
                eos_token_id=end_token,
                **sampling,
            )  # (batch, longest prompt and completion)
            for row, tokens in zip(rows, output[:, ids.shape[1] :].tolist(), strict=True):
                completions[row] = tokens[: tokens.index(end_token) + 1] if end_token in tokens else tokens
    return completions


@contextmanager
def _plain_settings(model: PreTrainedModel) -> Iterator[None]:
    """Put the library's defaults in place of the model's generation_config, inside the context.

    A model's own penalties, cuts and forced tokens would otherwise hold wherever a call does not name them.
    """
    shipped, model.generation_config = model.generation_config, GenerationConfig()
    try:
        yield
    finally:
        model.generation_config = shipped


def _batches(model: PreTrainedModel, prompts: Texts, new_tokens: int) -> list[np.ndarray]:
    """Return the rows of each batch: all together, but each alone that may pass a length at which the model switches."""
    longest = np.array([len(ids) + new_tokens for ids in prompts.ids])
    passing = longest > min(switch_lengths(model), default=np.inf)
    together, alone = np.flatnonzero(~passing), np.flatnonzero(passing)
    return [rows for rows in (together, *alone[:, None]) if len(rows)]
