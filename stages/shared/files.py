"""Write files so that whatever stands under its final name is complete."""

from __future__ import annotations

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
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".partial")
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o644)  # mkstemp makes files private; an output is an ordinary file
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder beside ``path``; it takes the place of ``path`` on success. One writer at a time."""
    _remove_partial(path)
    temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.", suffix=".partial"))
    try:
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
