"""Positions of every prompt, at every site: the last token, a mean, all tokens, or tokens of the worked solution."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from stages.activations.passes import run_passes
from stages.activations.tokens import Tokens
from stages.models.capture import StreamPoint, text_config
from stages.models.names import hook_name

# Aggregation -> (hooks, rows, d_model), on the CPU; rows are prompts, or the prompts' tokens for all_tokens.
Reduced = dict[str, Tensor]


def hook_names(sites: Sequence[str], layers: int) -> list[str]:
    """Return the hooks in the order in which every array of activations holds them."""
    return [hook_name(*point) for point in _points(sites, layers)]


def _points(sites: Sequence[str], layers: int) -> list[StreamPoint]:
    return [StreamPoint(site, layer) for site in sites for layer in range(layers)]


def gather_positions(
    model: PreTrainedModel,
    tokens: Tokens,
    planned: Sequence[np.ndarray],
    sites: Sequence[str],
    aggregations: Sequence[str],
    tokens_per_batch: int,
    put: Callable[[np.ndarray, Reduced], None],
) -> int:
    """Pass the ``planned`` batches (rows of ``tokens``) through the model and ``put`` each result, by aggregation.

    ``put`` runs in one other thread while the next batch computes; at most two results wait for it. Returns the token
    budget that sufficed, and raises CollectionError, as `run_passes` does. Parameters: the model, its texts in batches,
    what is read of them, and where it goes; all are needed, and no two of them belong together elsewhere.
    """
    points = _points(sites, text_config(model).num_hidden_layers)
    with _in_background(put) as put_later:
        reducer = Positions(tokens, points, aggregations, put_later)
        return run_passes(model, tokens, planned, reducer, tokens_per_batch)


class Positions:
    """A reducer to one row per prompt and aggregation, or to the prompts' tokens for all_tokens."""

    def __init__(
        self,
        tokens: Tokens,
        points: Sequence[StreamPoint],
        aggregations: Sequence[str],
        put: Callable[[np.ndarray, Reduced], None],
    ) -> None:
        self.tokens, self.points, self.aggregations, self.put = tokens, points, aggregations, put

    def start(self, rows: np.ndarray, length: int) -> None:
        """Prepare weights and indices of each aggregation into the batch."""
        batch = self.tokens.subset(rows)
        ends, prompt_ends = batch.lengths, batch.prompt_lengths  # (batch,)
        in_prompt = np.arange(length) < prompt_ends[:, None]  # (batch, length)
        weights = np.zeros(in_prompt.shape, np.float32)
        weights[in_prompt] = np.concatenate(batch.content)
        first = np.arange(len(rows)) * length  # (batch,), into batch x length, as all but the first of these:
        index = {
            "mean": weights / weights.sum(axis=1, keepdims=True),  # (batch, length), rows sum to 1
            "last_token": first + prompt_ends - 1,  # (batch,)
            "all_tokens": np.flatnonzero(in_prompt),  # (prompt tokens,)
            "reasoning_middle": first + (prompt_ends + ends - 1) // 2,  # (batch,)
            "reasoning_end": first + ends - 1,  # (batch,)
        }
        self._index = {aggregation: torch.from_numpy(values) for aggregation, values in index.items()}

    def reduce(self, hidden: Tensor) -> dict[str, Tensor]:
        """Reduce ``hidden`` (batch, length, d_model) to (batch, d_model), or (prompt tokens, d_model) for all_tokens."""
        return {aggregation: self._aggregate(aggregation, hidden) for aggregation in self.aggregations}

    def collect(self, rows: np.ndarray, reduced: list[dict[str, Tensor]]) -> None:
        """Hand the batch over, each aggregation stacked over the points."""
        self.put(rows, {name: _to_host([values[name] for values in reduced]) for name in self.aggregations})

    def _aggregate(self, aggregation: str, hidden: Tensor) -> Tensor:
        # A model spread over devices has its blocks, and so its residual stream, on several.
        index = self._index[aggregation] = self._index[aggregation].to(hidden.device)
        if aggregation == "mean":
            return torch.einsum("bt,btd->bd", index, hidden.float())
        return hidden.flatten(0, 1).index_select(0, index)


def _to_host(hooks: list[Tensor]) -> Tensor:
    """Stack the hooks (rows, d_model) to (hooks, rows, d_model) in pinned memory, without waiting for the copy."""
    if hooks[0].device.type != "cuda":
        return torch.stack([hook.to("cpu") for hook in hooks])
    host = torch.empty((len(hooks), *hooks[0].shape), dtype=hooks[0].dtype, pin_memory=True)
    for target, hook in zip(host, hooks, strict=True):
        target.copy_(hook, non_blocking=True)
    return host


@contextmanager
def _in_background(
    put: Callable[[np.ndarray, Reduced], None],
) -> Iterator[Callable[[np.ndarray, Reduced], None]]:
    """Yield a function that runs ``put`` in one other thread, in order; it waits while two calls are under way."""
    pending: deque[Future] = deque()

    def put_copied(copies: list[torch.cuda.Event], rows: np.ndarray, reduced: Reduced) -> None:
        for copy in copies:
            copy.synchronize()
        put(rows, reduced)

    def put_later(rows: np.ndarray, reduced: Reduced) -> None:
        devices = range(torch.cuda.device_count() if torch.cuda.is_initialized() else 0)
        copies = [torch.cuda.current_stream(device).record_event() for device in devices]
        pending.append(thread.submit(put_copied, copies, rows, reduced))
        while len(pending) > 2:
            pending.popleft().result()

    with ThreadPoolExecutor(1) as thread:
        yield put_later
        for call in pending:
            call.result()  # a failed write is an error here, not a silence
