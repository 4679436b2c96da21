"""The activation file of a task: its shards are merged, checked and written with the usable prompts."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from stages.activations.params import Collect
from stages.activations.store import ActivationHeader, Block, write
from stages.activations.tokens import Tokens, chat_date, token_offsets
from stages.models.checkpoint import Checkpoint
from stages.paradigms.quality import check_quality
from stages.paradigms.reasoning import mask_in_words
from stages.paradigms.shards import Dataset, Merged, ShardPlan
from stages.shared.scratch import library_versions

LIBRARIES = ("torch", "transformers", "tokenizers", "safetensors", "h5py", "numpy")

log = logging.getLogger(__name__)


def record_task(checkpoint: Checkpoint, precision: str, plan: ShardPlan, params: Collect, folder: Path) -> dict:
    """Merge the shards into ``{folder}/{task}.h5`` with the usable prompts, and return the report of their quality.

    Memory does not grow with the number of prompts, except for a few numbers a row.
    """
    merged, offsets = Merged(plan), token_offsets(plan.tokens)
    hooks, _, width = merged.array(params.aggregations[0], 0).shape
    layers = hooks // len(params.sites)
    checked = check_quality(merged, plan.tokens.prompt_ids, offsets, layers, params)
    if dropped := checked.report["dropped"]:
        log.warning("%s: %d unusable prompts are left out: %s", plan.task, len(dropped), dropped)
    tokens = plan.tokens.subset(checked.usable)
    ragged = (token_offsets(tokens), np.concatenate(tokens.content)) if "all_tokens" in params.aggregations else ()
    header = _header(checkpoint, precision, plan.task, tokens, params, (layers, width))
    path = folder / f"{plan.task}.h5"
    blocks = _blocks(merged, header, checked.usable, offsets)
    write(path, header, blocks, *ragged, token_ids=tokens.ids)
    log.info(
        "%s %s: %d prompts, %d tokens, %d datasets of width %d, %.1f MB",
        checkpoint.name,
        plan.task,
        len(tokens.ids),
        tokens.lengths.sum(),
        checked.report["hooks"],
        width,
        path.stat().st_size / 1e6,
    )
    return checked.report


def _header(
    checkpoint: Checkpoint, precision: str, task: str, tokens: Tokens, params: Collect, shape: tuple[int, int]
) -> ActivationHeader:
    """Return the header of the file of these tokens; ``shape``: layers and width of the model."""
    return ActivationHeader(
        model=checkpoint.name,
        task=task,
        resolved_revision=checkpoint.resolved_revision,
        weight_hash=checkpoint.weight_hash,
        paradigm=checkpoint.paradigm,
        architecture=checkpoint.architecture,
        n_layers=shape[0],
        d_model=shape[1],
        aggregations=tuple(params.aggregations),
        sites=tuple(params.sites),
        mask=mask_in_words(params),
        precision=precision,
        prompt_format=checkpoint.prompt_format,
        prompt_ids=tokens.prompt_ids,
        token_hash=tokens.digest(),
        tokens_per_batch=params.tokens_per_batch,
        library_versions=library_versions(LIBRARIES),
        all_tokens_dtype=params.all_tokens_dtype,
        chat_date=chat_date(checkpoint.prompt_format),
        norm_high=params.quality.norm_high,
    )


def _blocks(merged: Merged, header: ActivationHeader, usable: np.ndarray, offsets: np.ndarray) -> Iterator[Block]:
    """Yield the rows of the usable prompts, one dataset after the other."""
    token_rows = np.concatenate([np.arange(offsets[r], offsets[r + 1]) for r in usable])
    for aggregation in header.aggregations:
        rows = token_rows if aggregation == "all_tokens" else usable
        for i, site in enumerate(header.sites):
            for layer in range(header.n_layers):
                values = Dataset(merged, aggregation, i * header.n_layers + layer, rows)
                yield Block(aggregation, site, layer, values)
