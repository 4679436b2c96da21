"""Write files so that whatever stands under its final name is complete, and name a disk that is full."""

from __future__ import annotations

import errno
import json
import math
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

SIGNIFICANT_DIGITS = 6
FULL = (errno.ENOSPC, errno.EDQUOT)
# What libraries write in place of the number: HDF5, Arrow, Rust, and what the system calls it.
FULL_TEXTS = ("errno = 28,", "[errno 28]", "os error 28", "no space left", "quota exceeded")
# A file system with less room than this is full: some libraries say no more than that they could not write.
NO_ROOM = 2**16


class DiskFullError(OSError):
    """A file system is full; the message names the folder, what was needed and what there was."""


def full_disk_error(path: Path, have: int, need: int | None = None) -> DiskFullError:
    """Return the error for a file that does not fit: it needs ``need`` bytes, where that is known, ``have`` were free."""
    needed = "more bytes than the" if need is None else f"{need:,} bytes,"
    return DiskFullError(
        f"no space left in {path.parent.absolute()}: {path.name} needs {needed} {have:,} that were free; make room "
        "and run the stage again: what was complete stays whole"
    )


def is_full(error: BaseException) -> bool:
    """Return whether ``error``, or one that it comes from, says that a file system is full."""
    if isinstance(error, OSError) and error.errno in FULL:
        return True
    if any(text in str(error).lower() for text in FULL_TEXTS):
        return True
    earlier = error.__cause__ or error.__context__
    return earlier is not None and is_full(earlier)


def reserve(path: Path, size: int) -> None:
    """Give ``path`` all of its ``size`` bytes on the disk: writing to a mapped file that does not fit kills the process.

    Raises DiskFullError.
    """
    have = shutil.disk_usage(path.parent).free
    try:
        with path.open("r+b") as file:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, size)
            elif size > have:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    except OSError as error:
        if not is_full(error):
            raise
        raise full_disk_error(path, have, size) from error


@contextmanager
def _disk_watched(path: Path) -> Iterator[None]:
    """Raise DiskFullError in place of whatever a library raises when ``path`` does not fit."""
    have = shutil.disk_usage(path.parent).free
    try:
        yield
    except DiskFullError:
        raise
    except Exception as error:
        without_reason = isinstance(error, (OSError, RuntimeError)) and shutil.disk_usage(path.parent).free < NO_ROOM
        if not is_full(error) and not without_reason:
            raise
        elsewhere = getattr(error, "filename", None)  # such as a temporary file
        raise full_disk_error(Path(os.fsdecode(elsewhere)) if elsewhere else path, have) from error


class FileError(ValueError):
    """A file is missing, unreadable or of other content; the message names it, what was expected and the fix."""


def one_line(error: Exception) -> str:
    """Return what an error says, without line breaks and with its kind where it says nothing."""
    return " ".join(str(error).split())[:300] or type(error).__name__


class FileSource(NamedTuple):
    """The description of a file for its reader: what it holds, how it is made again, and the error that says so."""

    contents: str
    """What it holds, with its article: "an activation file"."""
    fix: str
    """How it is made again: "rebuild it with `dvc repro ...`"."""
    error: type[ValueError] = FileError


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; rename it to ``path`` on success, remove it on failure.

    One writer at a time: what a killed one left behind is removed.
    """
    _remove_partial(path)
    with _disk_watched(path):
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".partial")
    os.close(handle)
    temporary = Path(name)
    try:
        with _disk_watched(path):
            yield temporary
        temporary.chmod(0o644)  # mkstemp makes files private; an output is an ordinary file
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder beside ``path``; it takes the place of ``path`` on success. One writer at a time."""
    _remove_partial(path)
    with _disk_watched(path):
        temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.", suffix=".partial"))
    try:
        with _disk_watched(path):
            yield temporary
        temporary.chmod(0o755)
        if path.exists():
            shutil.rmtree(path)
        os.replace(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _remove_partial(path: Path) -> None:
    """Make the parent folder, and remove what a killed run left there of ``path``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    for left in path.parent.glob(f".{path.name}.*.partial"):
        shutil.rmtree(left) if left.is_dir() else left.unlink()


def rounded(value):
    """Return ``value`` with every float at six significant digits; NaN and infinity are refused."""
    if isinstance(value, dict):
        return {str(key): rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(item) for item in value]
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{value} cannot be written to JSON: leave the key out, or give its reason as text")
        return float(f"{value:.{SIGNIFICANT_DIGITS}g}")
    return value


def write_json(path: Path, content: dict) -> None:
    """Write JSON with sorted keys, six significant digits, a newline at the end: equal content gives equal bytes."""
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(rounded(content), indent=2, sort_keys=True) + "\n", encoding="utf-8")
