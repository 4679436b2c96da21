"""Shards: the results of some batches of a task on disk, complete or absent, in a folder named by their content.

    {scratch}/{key}/{shard}/last_token.npy     float32           (hooks, prompts, d_model), and so the others but
                            all_tokens.npy     float32 or uint16 (hooks, tokens, d_model); uint16 holds bfloat16 bits
                            {aggregation}_norms.npy  float64     (hooks, rows): Euclidean norms, before any rounding
                            {aggregation}_peaks.npy  float32     (hooks, rows): largest absolute value of the row

Each ends in its digest (`stages.shared.digests`), which is checked when it is first read.

The key is a hash of everything that the values depend on, so that a run killed at any moment finds what was
complete and computes the rest, and nothing stale is ever taken. Shards stay until the scratch folder is removed.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from stages.activations.params import Collect
from stages.activations.positions import Reduced, gather_positions, hook_names
from stages.activations.tokens import Tokens, batches
from stages.models.capture import text_config
from stages.models.checkpoint import Checkpoint, read_config
from stages.shared.digests import append_digest, require_digest
from stages.shared.files import FileError, atomic_folder, reserve
from stages.shared.scratch import scratch_key

# Real tokens of a shard, at least: what a killed run loses at most.
SHARD_TOKENS = 2**14


class ShardPlan(NamedTuple):
    """The passes of one model over one task."""

    task: str
    tokens: Tokens
    folder: Path
    """Folder of this task's shards; its name ends in the key."""
    shards: list[list[np.ndarray]]
    """Rows of each batch of each shard; together every prompt once."""

    def path(self, shard: int) -> Path:
        return self.folder / f"{shard:05d}"

    def missing(self) -> list[int]:
        return [shard for shard in range(len(self.shards)) if not self.path(shard).is_dir()]


def scratch_folder() -> Path:
    """Return the folder that the environment variable COLLECT_SCRATCH names; on a cluster it must be shared between nodes."""
    return Path(os.environ.get("COLLECT_SCRATCH", ".dvc/tmp/collect"))


def plan_shards(
    checkpoint: Checkpoint, precision: str, task: str, prompts: Tokens, params: Collect, device: str
) -> ShardPlan:
    """Put batches of prompts of similar length together to shards, in order; ``device``: cpu or cuda, which round differently."""
    content = {
        "weights": checkpoint.weight_hash,
        "config": None if checkpoint.gguf else read_config(checkpoint.folder),
        "precision": precision,
        "tokens": prompts.digest(),
        "content": hashlib.sha256(np.concatenate(prompts.content).tobytes()).hexdigest(),
        "params": params.model_dump(exclude={"prompts", "precision", "quality", "reasoning"}),
        "device": device,
    }
    key = scratch_key(content, __name__, "stages.models.loading")
    shards: list[list[np.ndarray]] = []
    shard_tokens = SHARD_TOKENS
    for rows in batches(prompts.lengths, params.tokens_per_batch):
        if shard_tokens >= SHARD_TOKENS:
            shards.append([])
            shard_tokens = 0
        shards[-1].append(rows)
        shard_tokens += int(prompts.lengths[rows].sum())
    return ShardPlan(task, prompts, scratch_folder() / f"{checkpoint.name}-{task}-{key}", shards)


def row_counts(prompts: Tokens, rows: np.ndarray, aggregation: str) -> np.ndarray:
    """Return how many rows each of the prompts ``rows`` has in an array of ``aggregation``: (len(rows),)."""
    return prompts.prompt_lengths[rows] if aggregation == "all_tokens" else np.ones(len(rows), int)


class Sink:
    """The files of a shard that is being computed; `put` fills them batch by batch.

    A file is mapped for one batch at a time: what stays mapped counts as memory of the process.
    """

    def __init__(
        self,
        folder: Path,
        plan: ShardPlan,
        shard: int,
        params: Collect,
        hooks: int,
        width: int,
        progress: Callable[[int], object],
    ) -> None:
        """Create the files of ``shard`` in ``folder``, for ``hooks`` of ``width`` values.

        Parameters: the shard's place in the plan, the shape of its arrays, and who is told of progress.
        """
        self.prompts, self.folder, self.progress = plan.tokens, folder, progress
        rows = np.concatenate(plan.shards[shard])  # (prompts of the shard,)
        self.first: dict[str, dict[int, int]] = {}
        for aggregation in params.aggregations:
            counts = row_counts(self.prompts, rows, aggregation)
            starts = np.concatenate([[0], np.cumsum(counts)])
            self.first[aggregation] = dict(zip(rows.tolist(), starts.tolist(), strict=False))
            shape = hooks, int(starts[-1])
            halved = aggregation == "all_tokens" and params.all_tokens_dtype == "bfloat16"
            self._create(aggregation, np.uint16 if halved else np.float32, (*shape, width))
            self._create(f"{aggregation}_norms", np.float64, shape)
            self._create(f"{aggregation}_peaks", np.float32, shape)

    def _create(self, name: str, dtype: type, shape: tuple[int, ...]) -> None:
        path = self.folder / f"{name}.npy"
        np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)
        reserve(path, path.stat().st_size)

    def put(self, rows: np.ndarray, reduced: Reduced) -> None:
        """Write the results of one batch; its prompts lie next to each other in the shard."""
        for aggregation, values in reduced.items():
            start = self.first[aggregation][int(rows[0])]
            columns = slice(start, start + values.shape[1])
            self._write(aggregation, columns, values)
            # float64: the square of a float32 can overflow where its norm does not
            self._write(f"{aggregation}_norms", columns, torch.linalg.vector_norm(values, dim=-1, dtype=torch.float64))
            self._write(f"{aggregation}_peaks", columns, values.abs().amax(-1))
        self.progress(int(self.prompts.lengths[rows].sum()))

    def _write(self, name: str, columns: slice, values: Tensor) -> None:
        array = np.load(self.folder / f"{name}.npy", mmap_mode="r+")
        array[:, columns] = _stored(values, array.dtype)

    def close(self) -> None:
        """Add the digests, and bring all bytes to the disk: a shard that is there stays whole when the machine goes down."""
        for path in self.folder.iterdir():
            append_digest(path)
            with path.open("rb") as file:
                os.fsync(file)


def _stored(values: Tensor, dtype: np.dtype) -> np.ndarray:
    """Return ``values`` as float32 or float64, or as the bits of the nearest bfloat16 in uint16."""
    if dtype == np.uint16:
        return values.to(torch.bfloat16).view(torch.int16).numpy().view(np.uint16)
    return (values if dtype == np.float64 else values.float()).numpy()


def compute(
    model: PreTrainedModel,
    plan: ShardPlan,
    shard: int,
    params: Collect,
    tokens_per_batch: int,
    progress: Callable[[int], object] = lambda tokens: None,
) -> int:
    """Compute one shard and return the token budget that sufficed; the shard appears under its name when complete.

    ``progress`` is told the tokens of each batch that is done.
    """
    config = text_config(model)
    hooks = len(hook_names(params.sites, config.num_hidden_layers))
    with atomic_folder(plan.path(shard)) as folder:
        sink = Sink(folder, plan, shard, params, hooks, config.hidden_size, progress)
        budget = gather_positions(
            model, plan.tokens, plan.shards[shard], params.sites, params.aggregations, tokens_per_batch, sink.put
        )
        sink.close()
    return budget


class Merged:
    """The shards of a plan as one array, rows in the order of the prompts; nothing is read before it is asked for."""

    def __init__(self, plan: ShardPlan) -> None:
        self.plan = plan
        self._locations: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        self._checked: set[Path] = set()

    def norms(self, aggregation: str, hook: int) -> np.ndarray:
        """Return the Euclidean norm (rows,) of every row, float64."""
        return self.read(aggregation, hook, slice(None), "_norms")

    def peaks(self, aggregation: str, hook: int) -> np.ndarray:
        """Return the largest absolute value (rows,) of every row."""
        return self.read(aggregation, hook, slice(None), "_peaks")

    def read(self, aggregation: str, hook: int, rows: np.ndarray | slice, suffix: str = "") -> np.ndarray:
        """Return rows (rows, d_model) of one hook, by its number in `positions.hook_names`."""
        shard_of, row_of = (locations[rows] for locations in self._locate(aggregation))
        first = self.array(aggregation + suffix, 0)
        result = np.empty((len(shard_of), *first.shape[2:]), first.dtype)
        for shard in np.unique(shard_of):
            in_shard = shard_of == shard
            result[in_shard] = self.array(aggregation + suffix, shard)[hook, row_of[in_shard]]
        return result

    def array(self, name: str, shard: int) -> np.ndarray:
        """Return the array (hooks, rows of the shard, ...), mapped until it is let go.

        Raises FileError where the file is missing or damaged.
        """
        path = self.plan.path(shard) / f"{name}.npy"
        try:
            if path not in self._checked:
                require_digest(path)
                self._checked.add(path)
            return np.load(path, mmap_mode="r")
        except (OSError, ValueError) as error:
            raise FileError(
                f"{path} is no sound shard ({error}): remove {path.parent}, and it is computed again"
            ) from error

    def _locate(self, aggregation: str) -> tuple[np.ndarray, np.ndarray]:
        """Return the shard and the row in it, (rows,) each, of every row in prompt order."""
        if aggregation not in self._locations:
            prompts = [np.concatenate(shard) for shard in self.plan.shards]
            counts = [row_counts(self.plan.tokens, rows, aggregation) for rows in prompts]
            shard_of = np.repeat(np.arange(len(counts)), [c.sum() for c in counts])
            row_of = np.concatenate([np.arange(c.sum()) for c in counts])
            prompt_of = np.concatenate([np.repeat(rows, c) for rows, c in zip(prompts, counts, strict=True)])
            order = np.argsort(prompt_of, kind="stable")  # the tokens of a prompt keep their order
            self._locations[aggregation] = shard_of[order], row_of[order]
        return self._locations[aggregation]


class Dataset:
    """A selection of rows of one hook of ``merged``, read when it is sliced (`store.SliceableRows`)."""

    def __init__(self, merged: Merged, aggregation: str, hook: int, rows: np.ndarray) -> None:
        self.merged, self.aggregation, self.hook, self.rows = merged, aggregation, hook, rows
        first = merged.array(aggregation, 0)
        self.shape, self.dtype = (len(rows), first.shape[-1]), first.dtype

    def __getitem__(self, part: slice) -> np.ndarray:
        return self.merged.read(self.aggregation, self.hook, self.rows[part])
