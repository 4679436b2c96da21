"""Train the autoencoders of one language model side by side, from a scratch folder that keeps finished and unfinished ones."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from torch import Tensor
from transformers import PreTrainedModel

from stages.activations.token_stream import stream
from stages.concepts.autoencoder_jobs import (
    EncodedModel,
    Job,
    autoencoder_path,
    configuration,
    document_rows,
    encoded_state,
    new_autoencoder,
    state_scale,
    training_plan,
)
from stages.concepts.autoencoders.training import AutoencoderRun, begin, resume, save, train
from stages.concepts.language_models import open_language_model
from stages.concepts.text_contexts import trained_part
from stages.models.checkpoint import Checkpoint, find_checkpoint, open_checkpoint, read_config
from stages.models.loading import device, load_tokenizer
from stages.shared.scratch import scratch_key


class StateSource(NamedTuple):
    """A language model and the tokens it is fed: where the states that autoencoders are trained on come from."""

    model: PreTrainedModel
    checkpoint: Checkpoint
    rows: list[np.ndarray]
    """Token ids of each training document."""
    special: list[int]
    """Ids of the special tokens, whose states are left out."""
    tokens_per_batch: int
    token_hash: str
    """Hash of rows and special ids: it changes with the text's content, its division and cut, and the tokenizer."""


def open_source(job: Job, encoded: EncodedModel, documents: Sequence[str], tokens_per_batch: int) -> StateSource:
    """Load the language model that ``job`` encodes, and tokenise the documents that are trained on.

    The tokenizer is that of the study's model, so that siblings see the same tokens.
    """
    params, checkpoint = encoded.params, open_checkpoint(job.model)
    _, state = encoded_state(job, params)
    model = open_language_model(checkpoint, state, encoded.words.header.precision, encoded.concepts.seed)
    tokenizer = load_tokenizer(find_checkpoint(params.model))
    rows, special = document_rows(tokenizer, trained_part(documents)), tokenizer.all_special_ids
    content = json.dumps([[row.tolist() for row in rows], sorted(special)])
    return StateSource(model, checkpoint, rows, special, tokens_per_batch, hashlib.sha256(content.encode()).hexdigest())


def run_key(job: Job, encoded: EncodedModel, source: StateSource) -> str:
    """Return the scratch key of an autoencoder: it changes with all that the weights depend on, and the code.

    The settings alone would not do: the same settings on another text, other states or another kind of device, which
    rounds differently, give other weights.
    """
    checkpoint = source.checkpoint
    content = {
        "configuration": configuration(job, encoded),
        "states": encoded.file_hash,
        "held_out_templates": encoded.concepts.held_out_templates,
        "shrinkage": encoded.concepts.shrinkage,
        "weights": checkpoint.weight_hash,
        "config": None if checkpoint.gguf else read_config(checkpoint.folder),
        "tokens": source.token_hash,
        "tokens_per_batch": source.tokens_per_batch,
        "device": device().type,
    }
    return scratch_key(content, __name__)


def train_jobs(
    jobs: Sequence[Job], encoded: EncodedModel, source: StateSource, scratch: Path, folder: Path
) -> list[dict]:
    """Train ``jobs`` of one language model side by side, write them into ``folder``, return the rows of their curves.

    Each is kept under ``scratch`` on the way and when it is finished, and goes on from there. Rows: variant, model,
    noise, seed, step, term, value. Raises CheckpointError where a file of ``scratch`` is damaged.
    """
    params, scale = encoded.params, state_scale(encoded)
    batches = max(1, params.buffer // params.batch)
    paths = {job: scratch / job.variant / f"{job.name}-{run_key(job, encoded, source)}.safetensors" for job in jobs}
    runs = {job: _begin_or_resume(job, encoded, paths[job]) for job in jobs}
    jobs_by_name = {run.name: job for job, run in runs.items()}

    def portions(start: int) -> Iterator[Tensor]:
        layer, buffer = encoded.words.header.layer, batches * params.batch
        return stream(
            source.model,
            layer,
            source.rows,
            source.special,
            source.tokens_per_batch,
            buffer,
            encoded.concepts.seed,
            start,
            encoded.values.middle_limit,
        )

    def keep(run: AutoencoderRun) -> None:
        job = jobs_by_name[run.name]
        save(paths[job], run, scale, configuration(job, encoded), resumable=True)

    train(list(runs.values()), portions, batches, scale, keep)
    for job, run in runs.items():
        save(autoencoder_path(job, folder), run, scale, configuration(job, encoded), resumable=False)
    return [job._asdict() | row for job, run in runs.items() for row in run.progress["curve"]]


def _begin_or_resume(job: Job, encoded: EncodedModel, path: Path) -> AutoencoderRun:
    """Return the run as it was left under ``path``, or a new one."""
    run = begin(f"{job.variant}, {job.name}", new_autoencoder(job, encoded), training_plan(job, encoded))
    if path.is_file():
        resume(path, run, configuration(job, encoded))
    return run
