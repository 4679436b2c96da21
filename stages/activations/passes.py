"""The one pass of texts through a model: padding, hooks, halved batches when memory runs out, and what a reducer keeps.

A study that needs something new of the residual stream writes a `Reducer`; one that needs logits, or changes states on
the way, hands `run_batches` what it makes of a batch. No other module loops over batches.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from typing import Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from stages.activations.tokens import CollectionError, batches, right_padded
from stages.models.capture import StreamPoint, base_model, capture_points, ending_after, text_config
from stages.models.names import hook_name

# The last layer's output after the model's final norm, from which the head reads; `resid_post` is before it.
FINAL_NORM = "final_norm"
log = logging.getLogger(__name__)
_Result = TypeVar("_Result")


class Texts(Protocol):
    """Token ids of some texts, such as `Tokens` and `Sequences`."""

    ids: Sequence[np.ndarray]
    """Token ids (length,) of each text."""

    def label(self, row: int) -> str:
        """Return what an error calls the text in that row."""
        ...


class Reducer(Protocol):
    """The part of the residual stream that is kept of each batch, and what is made of it.

    For each batch `start` runs once, then inside the pass `reduce` once per point, then `collect` once. A batch for
    which memory runs out is started again in parts, so only `collect` may change results.
    """

    points: Sequence[StreamPoint]
    """Where the stream is read; the site may also be `FINAL_NORM`, of the last layer."""

    def start(self, rows: np.ndarray, length: int) -> None:
        """Prepare for the batch of the texts ``rows`` (batch,), padded on the right to ``length`` tokens."""
        ...

    def reduce(self, hidden: Tensor) -> object:
        """Reduce the residual stream (batch, length, d_model) of the started batch at one point."""
        ...

    def collect(self, rows: np.ndarray, reduced: list) -> None:
        """Take what `reduce` returned at each of the `points`, in their order."""
        ...


@torch.inference_mode()
def run_passes(
    model: PreTrainedModel, texts: Texts, planned: Sequence[np.ndarray], reducer: Reducer, tokens_per_batch: int
) -> int:
    """Pass the ``planned`` batches (rows of ``texts``) through the model without its head; ``reducer`` keeps the results.

    Blocks after the last one that is read do not run. When memory runs out the token budget is halved, for the rest of
    the run, and the batch is taken in parts. Returns the budget that sufficed. Raises CollectionError as `require_fit`
    does, where a single text does not fit into memory, and at a point whose hook never ran.
    """

    def reduce_batch(rows: np.ndarray) -> list:
        return _reduce_batch(model, texts, rows, reducer)

    return run_batches(model, texts, planned, tokens_per_batch, reduce_batch, reducer.collect)


def run_batches(
    model: PreTrainedModel,
    texts: Texts,
    planned: Sequence[np.ndarray],
    tokens_per_batch: int,
    compute: Callable[[np.ndarray], _Result],
    collect: Callable[[np.ndarray, _Result], None],
) -> int:
    """Hand ``collect`` what ``compute`` makes of each of the ``planned`` batches (rows of ``texts``), in their order.

    When memory runs out in ``compute`` the token budget is halved, for the rest of the run, and the batch is taken in
    parts. Returns the budget that sufficed. Raises CollectionError as `require_fit` does, and where a single text does
    not fit into memory.
    """
    for rows in planned:
        require_fit(model, texts, rows)
    for rows in planned:
        waiting = deque(_parts(texts, rows, tokens_per_batch))
        while waiting:
            part = waiting.popleft()
            results = _unless_memory_runs_out(compute, part)
            if results:
                collect(part, results[0])
            else:
                tokens_per_batch = _halved(texts, part, tokens_per_batch)
                waiting.extendleft(reversed(_parts(texts, part, tokens_per_batch)))
    return tokens_per_batch


def _unless_memory_runs_out(compute: Callable[[np.ndarray], _Result], rows: np.ndarray) -> list[_Result]:
    """Return the one result of ``compute``, or nothing; what it held is free when this returns."""
    try:
        return [compute(rows)]
    except (torch.OutOfMemoryError, MemoryError):
        return []
    except RuntimeError as error:
        if "allocate memory" not in str(error):  # how torch's CPU allocator says it
            raise
        return []


def require_fit(model: PreTrainedModel, texts: Texts, rows: Iterable[int] | None = None) -> None:
    """Raise CollectionError when a text, of ``rows`` or of all, has more tokens than the model positions, or unknown ids."""
    config = text_config(model)
    for row in range(len(texts.ids)) if rows is None else rows:
        ids = texts.ids[row]
        if len(ids) > config.max_position_embeddings:
            raise CollectionError(
                f"{texts.label(row)} has {len(ids)} tokens, the model {config.max_position_embeddings} positions: shorten "
                "the task's prompts or solutions (they are never truncated), lower trace.length, or take a model with a "
                "longer context"
            )
        if ids.max() >= config.vocab_size:
            raise CollectionError(
                f"{texts.label(row)} has token id {ids.max()}, the model's vocabulary ends at {config.vocab_size - 1}: model "
                "and reference must share a tokenizer; give it another reference in study.models, or correct the run's "
                "tokenizer in data/registry/runs.yaml"
            )


def _reduce_batch(model: PreTrainedModel, texts: Texts, rows: np.ndarray, reducer: Reducer) -> list:
    """Return the reduced stream at each of the reducer's points."""
    hooked = [point for point in reducer.points if point.site != FINAL_NORM]
    deepest = max((point.layer for point in hooked), default=-1)
    whole = len(hooked) < len(reducer.points) or deepest == text_config(model).num_hidden_layers - 1
    ids, _ = right_padded([texts.ids[row] for row in rows])  # (batch, length)
    reducer.start(rows, ids.shape[1])
    with (
        capture_points(model, hooked, reducer.reduce) as values,
        nullcontext() if whole else ending_after(model, deepest),
    ):
        # No attention mask: real tokens never see the padding to their right, and causal attention has faster kernels.
        output = base_model(model)(input_ids=ids.to(model.device), use_cache=False)
    if len(hooked) < len(reducer.points):
        final = reducer.reduce(output.last_hidden_state)
    if silent := [point for point in hooked if hook_name(*point) not in values]:
        raise CollectionError(
            f"{hook_name(*silent[0])} gave nothing: correct the row of the model in stages/models/sites.py"
        )
    return [final if point.site == FINAL_NORM else values[hook_name(*point)] for point in reducer.points]


def _halved(texts: Texts, rows: np.ndarray, tokens_per_batch: int) -> int:
    """Return half of the budget, or of what this batch took; raise CollectionError for a single text."""
    longest = max(len(texts.ids[row]) for row in rows)
    if len(rows) == 1:
        raise CollectionError(
            f"{texts.label(rows[0])} ({longest} tokens) alone does not fit into memory: "
            "use a larger device, DEVICE=auto to spread the model over several, or collect.precision bfloat16"
        )
    halved = min(tokens_per_batch, len(rows) * longest) // 2
    log.warning("out of memory with %d texts of %d tokens: budget halved to %d tokens", len(rows), longest, halved)
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
    return halved


def _parts(texts: Texts, rows: np.ndarray, tokens_per_batch: int) -> list[np.ndarray]:
    """Return the batch as it is where it fits the budget, else in parts."""
    return [rows[part] for part in batches(np.array([len(texts.ids[row]) for row in rows]), tokens_per_batch)]
