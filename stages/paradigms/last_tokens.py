"""The last token of every prompt at one site, in memory: for models that live only as long as they are looked at."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from transformers import PreTrainedModel

from stages.activations.positions import Reduced, gather_positions
from stages.activations.tokens import Tokens, batches

AGGREGATION = "last_token"


def last_tokens(model: PreTrainedModel, tokens: Tokens, site: str, tokens_per_batch: int) -> np.ndarray:
    """Return ``site`` of every layer at the last token of every prompt: (layers, n, d_model) float32, prompts in their order.

    The batches depend on the lengths and ``tokens_per_batch`` only, so that models compared share them. Raises
    CollectionError as `gather_positions` does.
    """
    parts: list[tuple[np.ndarray, np.ndarray]] = []

    def put(rows: np.ndarray, reduced: Reduced) -> None:
        parts.append((rows, reduced[AGGREGATION].float().numpy()))

    planned = batches(tokens.lengths, tokens_per_batch)
    gather_positions(model, tokens, planned, [site], [AGGREGATION], tokens_per_batch, put)
    rows = np.concatenate([rows for rows, _ in parts])  # (n,)
    values = np.concatenate([values for _, values in parts], axis=1)  # (layers, n, d_model)
    return values[:, np.argsort(rows)]


def last_tokens_by_task(
    model: PreTrainedModel, tokens: Mapping[str, Tokens], site: str, tokens_per_batch: int
) -> Iterator[tuple[str, np.ndarray]]:
    """Yield task and `last_tokens`, one task after the other."""
    return ((task, last_tokens(model, prompts, site, tokens_per_batch)) for task, prompts in tokens.items())
