"""Which sampled tokens make a cloud, in which coordinates, and how their prompts are halved."""

from __future__ import annotations

from collections.abc import Sequence
from zlib import crc32

import numpy as np

from stages.drift.samples import Rows
from stages.geometry.norms import non_massive_rows
from stages.geometry.transport import raw, shared_pca, unit_norm
from stages.statistics.balanced import halves

CONTENT, WITH_SINKS = "content", "with_sinks"
"""Drawn content tokens without massive ones; or position 0 of each prompt in place of its last drawn token."""


def content(rows: Rows, *stacks: np.ndarray) -> np.ndarray:
    """(rows,) true for the drawn tokens whose norm is at most ten medians at every point of all ``stacks``.

    Stacks are (points, rows, d): one mask for all that are compared, so that the same tokens stand in every cloud.
    """
    drawn = rows.position > 0
    kept = drawn.copy()
    for stack in stacks:
        kept[drawn] &= non_massive_rows(stack[:, drawn]).all(axis=0)
    return kept


def with_sinks(rows: Rows) -> np.ndarray:
    """(rows,) true for position 0 and all but the last drawn token of each prompt: as many as are drawn."""
    last = np.flatnonzero(np.append(np.diff(rows.prompt) > 0, True))
    kept = np.ones(len(rows.prompt), bool)
    kept[last] = False
    return kept


def in_basis(stacks: Sequence[np.ndarray], basis: str, components: int) -> list[np.ndarray]:
    """``stacks`` (points, n, d) in one basis for all their points, float64: (points, n, k) each.

    The shared PCA has ``components`` directions, or as many as the rows allow.
    """
    if basis.startswith("shared_pca"):
        clouds = [cloud for stack in stacks for cloud in stack]
        k = min(components, clouds[0].shape[1], sum(map(len, clouds)) - 1)
        found = iter(shared_pca(clouds, k))
        stacks = [np.stack([next(found) for _ in stack]) for stack in stacks]
    step = unit_norm if basis.endswith("unit") else raw
    return [np.stack([step(cloud) for cloud in stack]) for stack in stacks]


def half_rows(
    prompt: np.ndarray, kept: np.ndarray, blocks: int, seed: int, task: str
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Balanced halves and their complements, as numbers among the ``kept`` of rows that belong to ``prompt`` (rows,).

    All prompts fall into ``blocks`` at random, whatever is kept: models and layers share their halves. Tokens of a prompt
    stay together, since they are dependent.
    """
    count = int(prompt.max()) + 1
    block = np.random.default_rng([seed, crc32(task.encode())]).permutation(count) % blocks
    signs = halves(blocks)[:, block[prompt[kept]]]  # (blocks - 1, n)
    return [(np.flatnonzero(row > 0), np.flatnonzero(row < 0)) for row in signs]
