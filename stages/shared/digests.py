"""Digests inside files: a file that says what its bytes hash to, so that any flipped bit is found when it is read.

The digest is the SHA-256 of all bytes but its own and those of the ``parts`` that are checked on their own (the chunks
of an HDF5 file, each with its checksum: a part can be read without reading the whole). It stands where the format has
room for it: `fill_digest` puts it in place of `BLANK`, which the writer left in a header; `append_digest` after the
end, which HDF5 and NumPy do not read.
"""

from __future__ import annotations

import hashlib
import mmap
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

MARK = b"digest of this file, SHA-256: "
DIGITS = 64
BLANK = MARK + b"0" * DIGITS
COUNT_BYTES = 8
# Bytes that are hashed at a time: what is mapped counts as memory of the process.
PIECE = 2**22


class DigestError(ValueError):
    """A file has no digest, or another than its bytes; the message says which."""


def fill_digest(path: Path) -> None:
    """Put the digest of the file in place of the last `BLANK` in it."""
    with path.open("r+b") as file:
        start = _last(file.fileno(), BLANK) + len(MARK)
        digest = _hash(file.fileno(), [(start, DIGITS)])
        file.seek(start)
        file.write(digest)


def append_digest(path: Path, parts: Iterable[tuple[int, int]] = ()) -> None:
    """Append the digest of the file but for ``parts`` (start, length), which are kept with it, their number, and it."""
    bounds = _merged(parts)
    with path.open("ab") as file:
        file.write(np.array(bounds, "<i8").tobytes() + len(bounds).to_bytes(COUNT_BYTES, "little") + BLANK)
    with path.open("r+b") as file:
        start = file.seek(-DIGITS, 2)
        digest = _hash(file.fileno(), [*bounds, (start, DIGITS)])
        file.seek(start)
        file.write(digest)


def require_digest(path: Path) -> None:
    """Raise DigestError unless the bytes of the file, but for its parts, have the digest that stands in it."""
    size = path.stat().st_size
    if size < len(BLANK):
        raise DigestError(f"{size} bytes hold no digest: cut off")
    with path.open("rb") as file:
        mark = _last(file.fileno(), MARK)
        start = mark + len(MARK)
        if start + DIGITS > size:
            raise DigestError("its digest is cut off")
        bounds = _appended_bounds(file, mark) if start + DIGITS == size else []
        file.seek(start)
        if file.read(DIGITS) != _hash(file.fileno(), [*bounds, (start, DIGITS)]):
            raise DigestError("its bytes have another digest than it says: damaged")


def _appended_bounds(file, mark: int) -> list[tuple[int, int]]:
    """Return the parts that `append_digest` kept before its mark; none where they do not lie in the file."""
    file.seek(max(mark - COUNT_BYTES, 0))
    count = int.from_bytes(file.read(COUNT_BYTES), "little")
    start = mark - COUNT_BYTES - 16 * count
    if start < 0:
        raise DigestError("its list of checked parts is damaged")
    file.seek(start)
    bounds = np.frombuffer(file.read(16 * count), "<i8").reshape(-1, 2).tolist()
    ends = [0, *(offset + length for offset, length in bounds)]
    if any(offset < end or length < 0 for (offset, length), end in zip(bounds, ends, strict=False)) or ends[-1] > start:
        raise DigestError("its list of checked parts is damaged")
    return [tuple(pair) for pair in bounds]


def _merged(parts: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the parts in order, those that touch as one."""
    bounds: list[tuple[int, int]] = []
    for start, length in sorted(parts):
        if bounds and sum(bounds[-1]) == start:
            bounds[-1] = (bounds[-1][0], bounds[-1][1] + length)
        else:
            bounds.append((start, length))
    return bounds


def _last(handle: int, word: bytes) -> int:
    """Return where ``word`` stands last in the file."""
    with mmap.mmap(handle, 0, access=mmap.ACCESS_READ) as content:
        found = content.rfind(word)
    if found < 0:
        raise DigestError("it holds no digest: cut off, or written by another version")
    return found


def _hash(handle: int, holes: Sequence[tuple[int, int]]) -> bytes:
    """Return the hexadecimal SHA-256 of the bytes outside of ``holes`` (start, length), which are in order."""
    digest, position = hashlib.sha256(), 0
    with open(handle, "rb", closefd=False) as file:
        for start, length in [*holes, (file.seek(0, 2), 0)]:
            file.seek(position)
            while left := start - position:
                piece = file.read(min(left, PIECE))
                digest.update(piece)
                position += len(piece)
            position = start + length
    return digest.hexdigest().encode()
