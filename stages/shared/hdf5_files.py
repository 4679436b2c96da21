"""Write HDF5 files on a disk that may be full.

Where a write of its own fails, the HDF5 library cannot close the file any more, and the process dies of a segmentation
fault. So it writes through a file object here that takes note of the first failure and drops what comes after.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py

from stages.shared.files import atomic


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


class _WatchedFile(h5py.File):
    """An HDF5 file that raises the failure of a write before it takes up the next group or dataset."""

    def __init__(self, raw: _NotingFile, track_order: bool) -> None:
        self._raw = raw
        super().__init__(raw, "w", track_order=track_order)

    def create_group(self, *arguments, **options) -> h5py.Group:
        self.check()
        return super().create_group(*arguments, **options)

    def create_dataset(self, *arguments, **options) -> h5py.Dataset:
        self.check()
        return super().create_dataset(*arguments, **options)

    def check(self) -> None:
        """Raise the first failure of a write, where there was one."""
        if self._raw.failure is not None:
            raise self._raw.failure


@contextmanager
def atomic_hdf5(path: Path, track_order: bool = False) -> Iterator[h5py.File]:
    """Yield an HDF5 file to be filled; it appears as ``path``, complete or not at all. Raises DiskFullError."""
    with atomic(path) as temporary, _NotingFile(temporary, "w+") as raw:
        with _WatchedFile(raw, track_order) as file:
            yield file
        if raw.failure is not None:
            raise raw.failure
