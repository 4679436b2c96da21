"""HDF5 files in which every bit is checked: each chunk of data by Fletcher-32, all else by the digest at the end."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np

from stages.shared.digests import DigestError, append_digest, require_digest
from stages.shared.files import FileSource, atomic, one_line

# Chunks of what is written at once: 1 MiB.
CHUNK_BYTES = 2**20
LOCKED = (errno.EAGAIN, errno.EACCES, errno.EDEADLK)


@contextmanager
def write_hdf5(path: Path) -> Iterator[h5py.File]:
    """Yield a new file that appears under ``path`` when it is complete, with its digest. Equal content, equal bytes."""
    with atomic(path) as temporary:
        with h5py.File(temporary, "w", track_order=True) as file:
            yield file
            file.flush()
            chunks: list[tuple[int, int]] = []

            def gather(_, item) -> None:
                if isinstance(item, h5py.Dataset) and item.chunks:
                    item.id.chunk_iter(lambda chunk: chunks.append((chunk.byte_offset, chunk.size)))

            file.visititems(gather)
        append_digest(temporary, chunks)


@contextmanager
def read_hdf5(path: Path, source: FileSource) -> Iterator[h5py.File]:
    """Yield the file. Raises ``source.error`` with its fix where it is missing, locked, cut off, damaged, or lacks a part."""
    if not path.is_file():
        raise source.error(f"{path} not found; {source.fix}")
    try:
        require_digest(path)
        with h5py.File(path, "r") as file:
            yield file
    except (OSError, KeyError, RuntimeError, DigestError) as error:  # what h5py raises on damaged bytes
        if getattr(error, "errno", None) in LOCKED or "unable to lock file" in str(error):
            raise source.error(f"{path} is being written, or locked, by another process: wait until it ends") from error
        raise source.error(
            f"{path} is truncated, damaged, or not {source.contents} ({one_line(error)}); {source.fix}"
        ) from error


def add_dataset(group: h5py.Group, name: str, values: np.ndarray) -> h5py.Dataset:
    """Write ``values`` as a dataset whose chunks have checksums; what is empty has none."""
    if not values.size:
        return group.create_dataset(name, data=values, track_times=False)
    count = max(1, min(len(values), round(values.nbytes / CHUNK_BYTES)))
    chunks = (-(-len(values) // count), *values.shape[1:])
    return group.create_dataset(name, data=values, chunks=chunks, fletcher32=True, track_times=False)
