"""Clouds of sampled tokens: the mask of the tokens that belong to one, its coordinates, and halves of its prompts."""

from __future__ import annotations

from collections.abc import Sequence
from zlib import crc32

import numpy as np

from stages.drift.sample_files import SampledTokens
from stages.geometry.norms import non_massive_rows
from stages.geometry.transport import raw, shared_pca, unit_norm
from stages.statistics.deviations import hadamard_halves

# Drawn content tokens without massive ones; or position 0 of each prompt in place of its last drawn token.
CONTENT, WITH_SINKS = "content", "with_sinks"


def content_mask(tokens: SampledTokens, *stacks: np.ndarray) -> np.ndarray:
    """Return a mask (rows,), true for the drawn tokens that are not massive at any depth of any of ``stacks``.

    A token is massive where its norm exceeds ten medians of the drawn tokens. Stacks are (depths, rows, d): one mask
    for all that are compared, so that the same tokens stand in every cloud.
    """
    drawn = tokens.position > 0
    mask = drawn.copy()
    for stack in stacks:
        mask[drawn] &= non_massive_rows(stack[:, drawn]).all(axis=0)
    return mask


def sinks_mask(tokens: SampledTokens) -> np.ndarray:
    """Return a mask (rows,), true for position 0 and all but the last drawn token of each prompt.

    It holds as many rows as there are drawn tokens.
    """
    last_of_prompt = np.flatnonzero(np.append(np.diff(tokens.prompt) > 0, True))
    mask = np.ones(len(tokens.prompt), bool)
    mask[last_of_prompt] = False
    return mask


def in_basis(stacks: Sequence[np.ndarray], basis: str, components: int) -> list[np.ndarray]:
    """Return ``stacks`` (depths, n, d) in one basis for all their depths, float64: (depths, n, k) each.

    The shared PCA has ``components`` directions, or as many as the rows allow.
    """
    if basis.startswith("shared_pca"):
        clouds = [cloud for stack in stacks for cloud in stack]
        k = min(components, clouds[0].shape[1], sum(map(len, clouds)) - 1)
        projected = iter(shared_pca(clouds, k))
        stacks = [np.stack([next(projected) for _ in stack]) for stack in stacks]
    rescale = unit_norm if basis.endswith("unit") else raw
    return [np.stack([rescale(cloud) for cloud in stack]) for stack in stacks]


def half_rows(
    prompt: np.ndarray, mask: np.ndarray, blocks: int, seed: int, task: str
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return balanced halves and their complements, as row numbers among the rows that ``mask`` leaves.

    ``prompt`` (rows,) is the prompt of each row, before masking. All prompts fall into ``blocks`` at random, whatever
    is masked, so that models and layers share their halves. Tokens of a prompt stay together, since they are dependent.
    """
    prompts = int(prompt.max()) + 1
    block = np.random.default_rng([seed, crc32(task.encode())]).permutation(prompts) % blocks
    signs = hadamard_halves(blocks)[:, block[prompt[mask]]]  # (blocks - 1, n)
    return [(np.flatnonzero(row > 0), np.flatnonzero(row < 0)) for row in signs]
