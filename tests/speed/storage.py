"""Codecs of the activation file on trajectories in bfloat16: size beside float32, and speed of writing and reading.

Usage: python -m tests.speed.storage

Two inputs: the residual stream of a trained organism (`dvc repro` first), computed in bfloat16 on its own prompts; and
an array of the shape and spectrum of a 7B model's, with massive dimensions. Speeds are in bytes of bfloat16 values.
The last line of each is `store.read_site`, which decompresses, checks for non-finite values and returns float32.
"""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import h5py
import hdf5plugin
import numpy as np
import torch

from stages.activations import store
from stages.activations.positions import gather_positions
from stages.activations.tokens import batches, tokenise
from stages.models.checkpoint import open_checkpoint
from stages.models.loading import load_model, load_tokenizer
from stages.tasks.rows import read_tasks

ORGANISM, TASKS, LAYER, REPEATS = "sft-s0", ["arithmetic", "logic", "strings"], 5, 3
BITSHUFFLE = hdf5plugin.Blosc2.BITSHUFFLE
CODECS = {
    "uncompressed": {},
    "shuffle, gzip 1": {"shuffle": True, "compression": "gzip", "compression_opts": 1},
    "shuffle, lzf": {"shuffle": True, "compression": "lzf"},
    "bitshuffle, lz4": dict(hdf5plugin.Bitshuffle(cname="lz4")),
    "bitshuffle, zstd": dict(hdf5plugin.Bitshuffle(cname="zstd", clevel=3)),
    "blosc2: bitshuffle, lz4": dict(hdf5plugin.Blosc2(cname="lz4", clevel=5, filters=BITSHUFFLE)),
    "blosc2: bitshuffle, zstd": dict(hdf5plugin.Blosc2(cname="zstd", clevel=1, filters=BITSHUFFLE)),
}
log = logging.getLogger(__name__)


def bits(values: torch.Tensor) -> np.ndarray:
    """Return the bits of the nearest bfloat16, as uint16."""
    return values.to(torch.bfloat16).view(torch.int16).numpy().view(np.uint16)


def organism() -> np.ndarray:
    """Return (tokens, 64): one layer of an organism on the prompts of every task."""
    checkpoint = open_checkpoint(ORGANISM)
    rows = read_tasks(TASKS, "held_out", 1000)
    tokens = tokenise(load_tokenizer(checkpoint), [row["prompt"] for row in rows], [row["id"] for row in rows])
    kept = []
    model = load_model(checkpoint, "bfloat16", target=torch.device("cpu"))
    gather_positions(
        model, tokens, batches(tokens.lengths, 4096), ["resid_post"], ["all_tokens"], 4096,
        lambda _, reduced: kept.append(reduced["all_tokens"][LAYER]),
    )  # fmt: skip
    return bits(torch.cat(kept))


def large(tokens: int = 8000, width: int = 4096) -> np.ndarray:
    """Return (tokens, width): 64 shared directions, uneven dimensions, two massive ones, and one sink token in a hundred."""
    random = np.random.default_rng(0)
    scale = np.exp(random.normal(0, 0.5, width))
    scale[[7, 99]] = 300
    values = 0.1 * random.standard_normal((tokens, 64)) @ random.standard_normal((64, width))
    values = (values + random.standard_normal((tokens, width))) * scale
    values[::100] *= 30
    return bits(torch.from_numpy(values))


def best(function: Callable[[], object]) -> tuple[float, object]:
    """Return the shortest of some times, and the last result."""
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        result = function()
        times.append(time.perf_counter() - start)
    return min(times), result


def compare(name: str, values: np.ndarray, folder: Path) -> None:
    log.info("%s: %d tokens of width %d", name, *values.shape)
    wide, rows = (values.astype(np.uint32) << 16).view(np.float32), store.CHUNK_VALUES // values.shape[1]
    for codec, options in CODECS.items():
        for stored in (wide, values):
            path = folder / "one.h5"

            def write(stored=stored, options=options, path=path) -> None:
                with h5py.File(path, "w") as file:
                    chunks = (min(rows, len(stored)), stored.shape[1])
                    file.create_dataset("x", data=stored, chunks=chunks, track_times=False, **options)

            def read(path=path) -> np.ndarray:
                with h5py.File(path, "r") as file:
                    return file["x"][:]

            writing, _ = best(write)
            reading, found = best(read)
            assert np.array_equal(found, stored)
            line(f"{stored.dtype.name:8s} {codec}", values, path, writing, reading)
    path = folder / "sft-s0" / "task.h5"
    header = store.ActivationHeader(
        model="sft-s0", task="task", resolved_revision="local", weight_hash="", paradigm="sft", architecture="olmo3",
        n_layers=1, d_model=values.shape[1], aggregations=("all_tokens",), sites=("resid_post",), mask="",
        precision="bfloat16", prompt_format="plain", prompt_ids=("a",), token_hash="", tokens_per_batch=1,
        library_versions={},
    )  # fmt: skip
    blocks = [store.Block("all_tokens", "resid_post", 0, values)]
    offsets, mask = np.array([0, len(values)]), np.ones(len(values), bool)
    writing, _ = best(lambda: store.write(path, header, blocks, offsets, mask))
    reading, found = best(lambda: store.read_site(path, "all_tokens", "resid_post", 0))
    assert np.array_equal(found, wide)
    line("activations.store, to float32", values, path, writing, reading)


def line(what: str, values: np.ndarray, path: Path, writing: float, reading: float) -> None:
    megabytes = values.nbytes / 1e6
    log.info(
        "  %-36s %.3f of the float32 bytes, write %5.0f MB/s, read %5.0f MB/s",
        what, path.stat().st_size / (2 * values.nbytes), megabytes / writing, megabytes / reading,
    )  # fmt: skip


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    with tempfile.TemporaryDirectory() as scratch:
        compare("organism", organism(), Path(scratch))
        compare("shape of a 7B model", large(), Path(scratch))
