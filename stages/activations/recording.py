"""From prompts to a checked activation file."""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import numpy as np
from transformers import PreTrainedModel

from stages.activations.collection import MASK, Collected, Tokens, collect, token_offsets
from stages.activations.quality import check
from stages.activations.store import Block, Header, write
from stages.models.capture import text_config
from stages.models.checkpoint import Checkpoint
from stages.models.names import hook_name
from stages.params.collect import Collect

LIBRARIES = ("torch", "transformers", "tokenizers", "safetensors", "h5py", "numpy")
log = logging.getLogger(__name__)


def record_task(
    model: PreTrainedModel, checkpoint: Checkpoint, task: str, tokens: Tokens, params: Collect, folder: Path
) -> dict:
    """Write ``{folder}/{task}.h5`` with the usable prompts and return the report of their quality."""
    offsets, start = token_offsets(tokens), time.perf_counter()
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        collected = collect(model, tokens, params.sites, params.aggregations, params.tokens_per_batch, Path(scratch))
        log.info("%s: %d prompts, %.0f tokens/s", task, len(tokens.ids), offsets[-1] / (time.perf_counter() - start))
        layers = text_config(model).num_hidden_layers
        checked = check(
            collected, tokens.prompt_ids, offsets, params.sites, layers, params.aggregations, params.quality
        )
        if dropped := checked.report["dropped"]:
            log.warning("%s: %d unusable prompts are left out: %s", task, len(dropped), dropped)
        kept = tokens.subset(checked.usable)
        ragged = (token_offsets(kept), np.concatenate(kept.content)) if "all_tokens" in params.aggregations else ()
        header = describe(model, checkpoint, task, kept, params)
        write(folder / f"{task}.h5", header, _blocks(collected, header, checked.usable, offsets), *ragged)
    return checked.report


def describe(model: PreTrainedModel, checkpoint: Checkpoint, task: str, tokens: Tokens, params: Collect) -> Header:
    """What the file of these tokens says of itself."""
    return Header(
        model=checkpoint.name,
        task=task,
        resolved_revision=checkpoint.resolved_revision,
        weight_hash=checkpoint.weight_hash,
        paradigm=checkpoint.paradigm,
        architecture=checkpoint.architecture,
        n_layers=text_config(model).num_hidden_layers,
        d_model=text_config(model).hidden_size,
        aggregations=tuple(params.aggregations),
        sites=tuple(params.sites),
        mask=MASK,
        compute_dtype=params.dtype,
        prompt_ids=tokens.prompt_ids,
        token_hash=tokens.digest(),
        tokens_per_batch=params.tokens_per_batch,
        library_versions={library: version(library) for library in LIBRARIES},
    )


def _blocks(collected: Collected, header: Header, usable: np.ndarray, offsets: np.ndarray) -> Iterator[Block]:
    """The rows of the usable prompts, one dataset after the other."""
    token_rows = np.concatenate([np.arange(offsets[r], offsets[r + 1]) for r in usable])
    for aggregation in header.aggregations:
        rows = token_rows if aggregation == "all_tokens" else usable
        for site in header.sites:
            for layer in range(header.n_layers):
                yield Block(aggregation, site, layer, collected[aggregation, hook_name(site, layer)][rows])
