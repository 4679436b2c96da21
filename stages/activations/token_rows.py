"""Chosen tokens of every text, read at chosen points of the residual stream in one pass."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm
from transformers import PreTrainedModel

from stages.activations.passes import Texts, run_passes
from stages.activations.tokens import batches
from stages.models.capture import StreamPoint, text_config


def gather_rows(
    model: PreTrainedModel,
    texts: Texts,
    chosen: Sequence[np.ndarray],
    points: Sequence[StreamPoint],
    tokens_per_batch: int,
    description: str | None = None,
) -> np.ndarray:
    """Return the ``chosen`` positions (per text) at every point: (points, rows, d) float32, texts in their order.

    Blocks after the last point do not run. Memory: the result, and the activations of one block of one batch. Batches,
    of similar length, change the last digits only. A ``description`` shows a progress bar. Raises CollectionError as
    `run_passes` does.
    """
    lengths = np.array([len(ids) for ids in texts.ids])
    with tqdm(total=len(lengths), desc=description, unit="text", disable=None if description else True) as bar:
        reducer = TokenRows(chosen, points, text_config(model).hidden_size, bar)
        run_passes(model, texts, batches(lengths, tokens_per_batch), reducer, tokens_per_batch)
    return reducer.values


class TokenRows:
    """A reducer to the rows of chosen tokens."""

    def __init__(self, chosen: Sequence[np.ndarray], points: Sequence[StreamPoint], width: int, bar: tqdm) -> None:
        self.chosen, self.points, self.bar = chosen, points, bar
        self.bounds = np.cumsum([0, *map(len, chosen)])  # (texts + 1,)
        self.values = np.empty((len(points), self.bounds[-1], width), np.float32)

    def start(self, rows: np.ndarray, length: int) -> None:
        """Find the chosen tokens in the flattened batch (batch x ``length``)."""
        index = [number * length + self.chosen[row] for number, row in enumerate(rows)]
        self._index = torch.from_numpy(np.concatenate(index))

    def reduce(self, hidden: Tensor) -> Tensor:
        """Reduce ``hidden`` (batch, length, d) to (chosen tokens, d)."""
        return hidden.flatten(0, 1).index_select(0, self._index.to(hidden.device)).float()

    def collect(self, rows: np.ndarray, reduced: list[Tensor]) -> None:
        """Put the batch at its rows."""
        target = np.concatenate([np.arange(self.bounds[row], self.bounds[row + 1]) for row in rows])
        for values, gathered in zip(self.values, reduced, strict=True):
            values[target] = gathered.cpu().numpy()
        self.bar.update(len(rows))
