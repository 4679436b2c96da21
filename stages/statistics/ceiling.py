"""The noise ceiling of a score between two models, and the index that adjusts for it and for chance.

On two disjoint halves A and B of the prompts,

    S = [score(reference on A, model on B) + score(reference on B, model on A)] / 2
    C = √(score(reference on A, reference on B) · score(model on A, model on B))
    index = (S - chance) / (C - chance)

1: the model is as like the reference as each is like itself on other prompts; 0: no more than chance.
Disjoint halves on both sides, so that noise lowers S and C alike and cannot pass for a difference.
"""

from __future__ import annotations

import numpy as np

# Share of the way from chance to the best score below which the halves do not even agree with themselves: no index.
LEAST_ROOM = 0.05


def noise_ceiling(within_reference: np.ndarray, within_model: np.ndarray) -> np.ndarray:
    """Return C, the geometric mean of the two within-model scores across halves; any one shape."""
    return np.sqrt(within_reference * within_model)


def adjusted_index(cross: np.ndarray, ceiling: np.ndarray, chance: float | np.ndarray, best: float = 1.0) -> np.ndarray:
    """Return (S - chance) / (C - chance), no unit; NaN where (C - chance) / (best - chance) < LEAST_ROOM.

    ``cross`` is S and ``ceiling`` C, of one shape. ``best``: the score of two equal models on the same prompts: 1 for
    similarities, 0 for distances.
    """
    room = np.asarray(ceiling - chance)
    enough = room / (best - chance) >= LEAST_ROOM
    return np.where(enough, (cross - chance) / np.where(enough, room, 1.0), np.nan)
