"""HDF5 files in which every bit is checked: each chunk of data by Fletcher-32, all else by the digest at the end.

Where a write of its own fails, as on a full disk, the HDF5 library cannot close the file any more, and the process dies
of a segmentation fault. So it writes through a file object here that takes note of the first failure and drops what
comes after.
"""

from __future__ import annotations

import errno
import io
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


class _NotingFile(io.FileIO):
    """A file whose writes never fail; ``failure`` holds the first error."""

    failure: OSError | None = None

    def write(self, data) -> int:
        remaining = memoryview(data).cast("B")
        size = len(remaining)
        try:
            while remaining and self.failure is None:
                remaining = remaining[super().write(remaining) :]
        except OSError as error:
            self.failure = error
        self.seek(len(remaining), io.SEEK_CUR)
        return size

    def readinto(self, buffer) -> int:
        count = super().readinto(buffer)
        if self.failure is not None:  # what was dropped
            count = len(buffer)
        return count

    def check(self) -> None:
        """Raise the first failure of a write, where there was one."""
        if self.failure is not None:
            raise self.failure


class _WatchedFile(h5py.File):
    """An HDF5 file that raises the failure of a write before it takes up the next group or dataset."""

    def __init__(self, raw: _NotingFile) -> None:
        self._raw = raw
        super().__init__(raw, "w", track_order=True)

    def create_group(self, *arguments, **options) -> h5py.Group:
        self._raw.check()
        return super().create_group(*arguments, **options)

    def create_dataset(self, *arguments, **options) -> h5py.Dataset:
        self._raw.check()
        return super().create_dataset(*arguments, **options)


@contextmanager
def write_hdf5(path: Path) -> Iterator[h5py.File]:
    """Yield a new file that appears under ``path`` when it is complete, with its digest. Equal content, equal bytes.

    Raises DiskFullError where it does not fit.
    """
    with atomic(path) as temporary:
        with _NotingFile(temporary, "w+") as raw:
            with _WatchedFile(raw) as file:
                yield file
                file.flush()
                raw.check()
                chunks = _chunk_bounds(file)
            raw.check()
        append_digest(temporary, chunks)


def _chunk_bounds(file: h5py.File) -> list[tuple[int, int]]:
    """Return where the chunks of all datasets lie: (start, length), which have checksums of their own."""
    bounds: list[tuple[int, int]] = []

    def gather(_, item) -> None:
        if isinstance(item, h5py.Dataset) and item.chunks:
            item.id.chunk_iter(lambda chunk: bounds.append((chunk.byte_offset, chunk.size)))

    file.visititems(gather)
    return bounds


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
