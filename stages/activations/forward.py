"""Forward passes over batches of prompts: every site, every aggregation, one pass."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from stages.activations.tokens import CollectionError, Tokens, batches
from stages.models.capture import base_model, capture, text_config
from stages.models.names import hook_name

PAD = 0  # any id: causal attention keeps padding on the right out of every real token
log = logging.getLogger(__name__)

Reduced = dict[str, Tensor]
"""Aggregation -> (hooks, rows, d_model), on the CPU; rows are prompts, or the prompts' tokens for all_tokens."""


def hook_names(sites: Sequence[str], layers: int) -> list[str]:
    """Hooks in the order in which every array of activations holds them."""
    return [hook_name(site, layer) for site in sites for layer in range(layers)]


def run_batches(
    model: PreTrainedModel,
    tokens: Tokens,
    planned: Iterable[np.ndarray],
    sites: Sequence[str],
    aggregations: Sequence[str],
    tokens_per_batch: int,
    put: Callable[[np.ndarray, Reduced], None],
) -> int:
    """Pass the ``planned`` batches (rows of ``tokens``) through the model without its head; ``put`` each result.

    ``put`` runs in one other thread while the next batch computes; at most two results wait for it. When memory
    runs out the token budget is halved, for the rest of the run, and the batch is taken in parts. Returns the
    budget that sufficed. Raises CollectionError where a single prompt does not fit into memory.
    """
    names = hook_names(sites, text_config(model).num_hidden_layers)
    batch: _Batch | None = None

    def keep(hidden: Tensor) -> Reduced:
        return {aggregation: batch.reduce(aggregation, hidden) for aggregation in aggregations}

    with torch.inference_mode(), capture(model, sites, keep) as seen, _in_background(put) as put_later:
        for rows in planned:
            waiting = deque(_parts(tokens, rows, tokens_per_batch))
            while waiting:
                part = waiting.popleft()
                seen.clear()  # a hook that does not run must not repeat the last batch
                batch = _Batch(tokens.subset(part), model.device)
                if not _fits_memory(model, batch):
                    tokens_per_batch = _halved(tokens, part, tokens_per_batch)
                    waiting.extendleft(reversed(_parts(tokens, part, tokens_per_batch)))
                    continue
                if silent := [name for name in names if name not in seen]:
                    raise CollectionError(
                        f"{silent[0]} gave nothing: correct the row of the model in stages/models/sites.py"
                    )
                put_later(part, {a: _to_host([seen[name][a] for name in names]) for a in aggregations})
    return tokens_per_batch


def require_fit(model: PreTrainedModel, tokens: Tokens) -> None:
    """Raise CollectionError when a prompt is longer than the model's positions or its ids are not in its vocabulary."""
    config = text_config(model)
    longest = int(np.argmax(tokens.lengths))
    if tokens.lengths[longest] > config.max_position_embeddings:
        raise CollectionError(
            f"prompt {tokens.prompt_ids[longest]} has {tokens.lengths[longest]} tokens, the model {config.max_position_embeddings} positions: "
            "shorten the task's prompts or solutions (they are never truncated) or take a model with a longer context"
        )
    for prompt, ids in zip(tokens.prompt_ids, tokens.ids, strict=True):
        if ids.max() >= config.vocab_size:
            raise CollectionError(
                f"prompt {prompt} has token id {ids.max()}, the model's vocabulary ends at {config.vocab_size - 1}: "
                "model and reference must share a tokenizer; give it another reference in study.models"
            )


class _Batch:
    """Right-padded ids of some prompts with what follows them, and the reductions over their tokens."""

    def __init__(self, tokens: Tokens, device: torch.device) -> None:
        lengths, prompt_lengths = tokens.lengths, tokens.prompt_lengths
        shape = len(lengths), int(lengths.max())
        real, of_prompt = (np.arange(shape[1]) < ends[:, None] for ends in (lengths, prompt_lengths))  # (batch, tokens)
        ids, weights = np.full(shape, PAD), np.zeros(shape, np.float32)
        ids[real] = np.concatenate(tokens.ids)
        weights[of_prompt] = np.concatenate(tokens.content)
        self.ids = torch.from_numpy(ids).to(device)
        first = np.arange(shape[0]) * shape[1]  # (batch,), into batch x tokens, as all but the first of these:
        index = {
            "mean": weights / weights.sum(axis=1, keepdims=True),  # (batch, tokens), rows sum to 1
            "last_token": first + prompt_lengths - 1,  # (batch,)
            "all_tokens": np.flatnonzero(of_prompt),  # (prompt tokens,)
            "reasoning_middle": first + (prompt_lengths + lengths - 1) // 2,  # (batch,)
            "reasoning_end": first + lengths - 1,  # (batch,)
        }
        self._index = {aggregation: torch.from_numpy(values) for aggregation, values in index.items()}

    def reduce(self, aggregation: str, hidden: Tensor) -> Tensor:
        """``hidden`` (batch, tokens, d_model) to (batch, d_model), or to (prompt tokens, d_model) for all_tokens."""
        # A model spread over devices has its blocks, and so its residual stream, on several.
        index = self._index[aggregation] = self._index[aggregation].to(hidden.device)
        if aggregation == "mean":
            return torch.einsum("bt,btd->bd", index, hidden.float())
        return hidden.flatten(0, 1).index_select(0, index)


def _fits_memory(model: PreTrainedModel, batch: _Batch) -> bool:
    """Run the body of the model; False when memory ran out."""
    try:
        # No attention mask: real tokens never see the padding to their right, and causal attention has faster kernels.
        base_model(model)(input_ids=batch.ids, use_cache=False)
    except (torch.OutOfMemoryError, MemoryError):
        return False
    except RuntimeError as error:
        if "allocate memory" not in str(error):  # how torch's CPU allocator says it
            raise
        return False
    return True


def _halved(tokens: Tokens, rows: np.ndarray, tokens_per_batch: int) -> int:
    """Half of the budget, or of what this batch took; CollectionError for a single prompt."""
    longest = int(tokens.lengths[rows].max())
    if len(rows) == 1:
        raise CollectionError(
            f"prompt {tokens.prompt_ids[rows[0]]} ({longest} tokens) alone does not fit into memory: "
            "use a larger device, DEVICE=auto to spread the model over several, or collect.precision bfloat16"
        )
    halved = min(tokens_per_batch, len(rows) * longest) // 2
    log.warning("out of memory with %d prompts of %d tokens: budget halved to %d tokens", len(rows), longest, halved)
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
    return halved


def _parts(tokens: Tokens, rows: np.ndarray, tokens_per_batch: int) -> list[np.ndarray]:
    """The batch as it is where it fits the budget, else in parts."""
    return [rows[part] for part in batches(tokens.lengths[rows], tokens_per_batch)]


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

    def after_copies(copies: list[torch.cuda.Event], rows: np.ndarray, reduced: Reduced) -> None:
        for copy in copies:
            copy.synchronize()
        put(rows, reduced)

    def later(rows: np.ndarray, reduced: Reduced) -> None:
        devices = range(torch.cuda.device_count() if torch.cuda.is_initialized() else 0)
        copies = [torch.cuda.current_stream(device).record_event() for device in devices]
        pending.append(thread.submit(after_copies, copies, rows, reduced))
        while len(pending) > 2:
            pending.popleft().result()

    with ThreadPoolExecutor(1) as thread:
        yield later
        for call in pending:
            call.result()  # a failed write is an error here, not a silence
