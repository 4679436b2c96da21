"""Damage files as a bad disk or a hand does: flip one bit, or edit and seal again."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import hdf5plugin  # noqa: F401  reads what is compressed
import pandas as pd
from pyarrow import parquet

from stages.shared.digests import append_digest
from stages.shared.tables import write_table


@contextmanager
def edited_hdf5(path: Path) -> Iterator[h5py.File]:
    """Yield an HDF5 file to change; it gets a digest anew, as if it had been written so."""
    with h5py.File(path, "a") as file:
        yield file
    append_digest(path)


def rewrite_table(path: Path, change: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    """Put ``change`` of a table in its place, for the folder that it belonged to."""
    belongs_to = parquet.read_schema(path).metadata[b"belongs_to"].decode()
    write_table(path, change(pd.read_parquet(path)), belongs_to)


def flip(content: bytes, bit: int) -> bytes:
    """Return ``content`` with one bit turned."""
    changed = bytearray(content)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)
