"""The one pass of texts through a model: padding, hooks, halved batches when memory runs out, and what a reducer keeps.

A study that needs something new of the residual stream writes a `Reducer`; no other module loops over batches.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from stages.activations.tokens import CollectionError, Tokens, batches, right_padded
from stages.models.capture import StreamPoint, base_model, capture_points, ending_after, text_config
from stages.models.names import hook_name

# The last layer's output after the model's final norm, from which the head reads; `resid_post` is before it.
FINAL_NORM = "final_norm"
log = logging.getLogger(__name__)


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
    for rows in planned:
        require_fit(model, texts, rows)
    for rows in planned:
        waiting = deque(_parts(model, texts, rows, tokens_per_batch))
        while waiting:
            part = waiting.popleft()
            reduced = _reduce_batch(model, texts, part, reducer)
            if reduced is None:
                tokens_per_batch = _halved(texts, part, tokens_per_batch)
                waiting.extendleft(reversed(_parts(model, texts, part, tokens_per_batch)))
            else:
                reducer.collect(part, reduced)
    return tokens_per_batch


def require_fit(model: PreTrainedModel, texts: Texts, rows: Iterable[int] | None = None, new_tokens: int = 0) -> None:
    """Raise CollectionError when a text, of ``rows`` or of all, does not fit the model.

    It has more tokens, with the ``new_tokens`` that may follow it, than the model positions, or unknown ids. Some
    models fail there with a bare error, others go on without a word. Every pass over texts is checked here.
    """
    config = text_config(model)
    for row in range(len(texts.ids)) if rows is None else rows:
        ids = texts.ids[row]
        if len(ids) + new_tokens > config.max_position_embeddings:
            following = f" and up to {new_tokens} may follow" if new_tokens else ""
            raise CollectionError(
                f"{texts.label(row)} has {len(ids)} tokens{following}, the model {config.max_position_embeddings} positions: "
                "shorten the task's prompts or solutions (they are never truncated), lower trace.length or new_tokens, or "
                "take a model with a longer context"
            )
        if len(ids) and np.max(ids) >= config.vocab_size:
            raise CollectionError(
                f"{texts.label(row)} has token id {np.max(ids)}, the model's vocabulary ends at {config.vocab_size - 1}: model "
                "and reference must share a tokenizer; give it another reference in study.models, or correct the run's "
                "tokenizer in data/registry/runs.yaml"
            )


def switch_lengths(model: PreTrainedModel) -> list[int]:
    """Return the lengths, ascending, above which a model reads all texts of a batch in another way.

    The longest text of a batch decides which rotary frequencies longrope (Phi-3) takes for all of them.
    """
    rope = getattr(text_config(model), "rope_parameters", None) or {}
    variants = [rope, *(part for part in rope.values() if isinstance(part, dict))]  # by type of layer in some families
    return sorted(
        {part["original_max_position_embeddings"] for part in variants if part.get("rope_type") == "longrope"}
    )


def require_one_way(model: PreTrainedModel, texts: Texts) -> None:
    """Raise CollectionError where a batch of all texts lies on both sides of one of the model's `switch_lengths`."""
    shortest, longest = (pick(texts.ids, key=len) for pick in (min, max))
    for switch in switch_lengths(model):
        if len(shortest) <= switch < len(longest):
            raise CollectionError(
                f"texts of {len(shortest)} to {len(longest)} tokens stand in one batch of {type(model).__name__} (longrope), "
                f"which reads all of them in another way where one has more than {switch}: shorten the longer ones"
            )


def model_batches(model: PreTrainedModel, texts: Texts, tokens_per_batch: int) -> list[np.ndarray]:
    """Return `batches` of the texts, none of which has texts on both sides of one of the model's `switch_lengths`."""
    lengths = np.array([len(ids) for ids in texts.ids])
    side = np.searchsorted(switch_lengths(model), lengths)  # (texts,)
    return [
        rows[part]
        for rows in (np.flatnonzero(side == number) for number in sorted(set(side.tolist()), reverse=True))
        for part in batches(lengths[rows], tokens_per_batch)
    ]


def _reduce_batch(model: PreTrainedModel, texts: Texts, rows: np.ndarray, reducer: Reducer) -> list | None:
    """Return the reduced stream at each of the reducer's points, or None when memory ran out."""
    hooked = [point for point in reducer.points if point.site != FINAL_NORM]
    deepest = max((point.layer for point in hooked), default=-1)
    whole = len(hooked) < len(reducer.points) or deepest == text_config(model).num_hidden_layers - 1
    ids, _ = right_padded([texts.ids[row] for row in rows])  # (batch, length)
    reducer.start(rows, ids.shape[1])
    try:
        with (
            capture_points(model, hooked, reducer.reduce) as values,
            nullcontext() if whole else ending_after(model, deepest),
        ):
            # No attention mask: real tokens never see the padding to their right, and causal attention has faster kernels.
            output = base_model(model)(input_ids=ids.to(model.device), use_cache=False)
        if len(hooked) < len(reducer.points):
            final = reducer.reduce(output.last_hidden_state)
    except (torch.OutOfMemoryError, MemoryError):
        return None
    except RuntimeError as error:
        if "allocate memory" not in str(error):  # how torch's CPU allocator says it
            raise
        return None
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


def _parts(model: PreTrainedModel, texts: Texts, rows: np.ndarray, tokens_per_batch: int) -> list[np.ndarray]:
    """Return the batch as it is where it fits the budget, and the model reads all of it in one way, else in parts."""
    ids = [texts.ids[row] for row in rows]
    return [rows[part] for part in model_batches(model, Tokens(("",) * len(rows), ids, []), tokens_per_batch)]
