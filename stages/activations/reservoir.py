"""Activations of a few tokens of every prompt, gathered inside one forward pass: memory does not grow with the corpus."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from transformers import PreTrainedModel

from stages.activations.passes import FINAL_NORM
from stages.activations.token_rows import gather_rows
from stages.activations.tokens import CollectionError, Tokens
from stages.models.capture import StreamPoint, text_config

# The input of the first block: with positions where they are added, and scaled where the family scales it.
EMBEDDING = "embedding"


class Sampled(NamedTuple):
    """The chosen tokens at every point, prompts in their order and positions ascending: the same rows at all points."""

    values: np.ndarray
    """Values (points, rows, d), float32, in the order of `point_names`"""
    prompt: np.ndarray
    """Index (rows,) into the prompts"""
    position: np.ndarray
    """Position (rows,) in the prompt; 0 only where it was chosen"""


def point_names(layers: int) -> list[str]:
    """Return the names of the points: before the first block, after each block, after the final norm."""
    return [EMBEDDING, *(f"layer_{layer}" for layer in range(layers)), FINAL_NORM]


def choose(tokens: Tokens, per_prompt: int, seed: int) -> list[np.ndarray]:
    """Draw at most ``per_prompt`` content positions of each prompt, uniform without replacement, ascending.

    Every position draws a key, and the smallest keys stay: a reservoir. Keys depend on the seed and the prompt's id
    only, so neither batches nor other prompts matter, all siblings get the same tokens, and fewer per prompt are a
    subset of more. Raises CollectionError on ``per_prompt`` below 1. Source: Vitter 1985; Efraimidis & Spirakis 2006.
    """
    if per_prompt < 1:
        raise CollectionError(f"{per_prompt} tokens of each prompt: expected 1 or more")
    return [
        _smallest_keys(np.flatnonzero(content), _keys(prompt, seed, len(content)), per_prompt)
        for prompt, content in zip(tokens.prompt_ids, tokens.content, strict=True)
    ]


def _keys(prompt: str, seed: int, length: int) -> np.ndarray:
    """Return uniform numbers (length,), one per position."""
    digest = hashlib.sha256(f"{seed}/{prompt}".encode()).digest()
    return np.random.default_rng(np.frombuffer(digest, dtype="<u4")).random(length)


def _smallest_keys(positions: np.ndarray, keys: np.ndarray, count: int) -> np.ndarray:
    """Return the ``count`` positions with the smallest keys, ascending."""
    return np.sort(positions[np.argsort(keys[positions], kind="stable")[:count]])


def sample_layers(
    model: PreTrainedModel, tokens: Tokens, chosen: Sequence[np.ndarray], tokens_per_batch: int
) -> Sampled:
    """Read the ``chosen`` positions (per prompt, ascending) at every one of `point_names`, in one pass.

    Memory: the result, points x rows x d in float32, and the activations of one block of one batch. Batches change
    the last digits only. Raises CollectionError as `run_passes` does, on positions that do not stand in the text or
    not in order, and on values that are not finite.
    """
    _require_positions(tokens, chosen)
    layers = text_config(model).num_hidden_layers
    points = [StreamPoint("resid_pre", 0), *(StreamPoint("resid_post", layer) for layer in range(layers))]
    points += [StreamPoint(FINAL_NORM, layers - 1)]
    values = gather_rows(model, tokens, chosen, points, tokens_per_batch, "sample")
    prompt, position = np.repeat(np.arange(len(chosen)), [len(row) for row in chosen]), np.concatenate(chosen)
    _require_finite(values, tokens, prompt, position)
    return Sampled(values, prompt, position)


def _require_positions(tokens: Tokens, chosen: Sequence[np.ndarray]) -> None:
    """Raise CollectionError unless each prompt has its ascending positions, and some prompt has any."""
    if len(chosen) != len(tokens.ids) or not any(map(len, chosen)):
        raise CollectionError(
            f"positions of {len(chosen)} prompts for {len(tokens.ids)} prompts: expected one array for each, not all empty"
        )
    for prompt, ids, positions in zip(tokens.prompt_ids, tokens.ids, chosen, strict=True):
        if len(positions) and (positions[0] < 0 or positions[-1] >= len(ids) or (np.diff(positions) <= 0).any()):
            raise CollectionError(
                f"prompt {prompt}: positions {positions.tolist()}, expected them ascending and inside 0..{len(ids) - 1}"
            )


def _require_finite(values: np.ndarray, tokens: Tokens, prompt: np.ndarray, position: np.ndarray) -> None:
    """Raise CollectionError naming the first point, prompt and position whose values are not finite."""
    for point, rows in zip(point_names(len(values) - 2), values, strict=True):
        if not (finite := np.isfinite(rows).all(axis=1)).all():
            first = int(np.argmin(finite))
            raise CollectionError(
                f"{point} of prompt {tokens.prompt_ids[prompt[first]]} is not finite at position {position[first]}: "
                "check the weights, or choose float32 or bfloat16"
            )
