"""Read the registries, ``data/registry/*.yaml``: an entry to a top-level name, validated by its own room when it is used."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from stages.shared.params import ParamsError, read_yaml

# The name of an entry: it names stages, files and folders.
SLUG = r"[A-Za-z0-9][A-Za-z0-9_-]*"


def did_you_mean(word: object, choices: Iterable[object]) -> str:
    """Return ``did you mean 'X'? `` with the choice that is spelt most like ``word``; nothing where none is near."""
    close = difflib.get_close_matches(str(word), [str(choice) for choice in choices], n=1)
    return f"did you mean {close[0]!r}? " if close else ""


def listed(choices: Iterable[object]) -> str:
    """Return the choices in words, for an error message."""
    return ", ".join(str(choice) for choice in choices) or "none"


def read_entries(path: Path) -> dict[str, Any]:
    """Return all entries of the registry by name, not validated: one bad entry must not keep the others from being used.

    Raises ParamsError where the file is missing, is no YAML, or has no names at its top level.
    """
    if not path.exists():
        raise ParamsError(f"{path} not found in {Path.cwd()}: run from the root of the repository")
    entries = read_yaml(path) or {}
    if not isinstance(entries, dict) or not all(isinstance(name, str) for name in entries):
        raise ParamsError(f"{path}: expected names with an entry each (name: {{key: value, ...}})")
    return entries


def read_entries_with(name: str, noun: str, path: Path) -> dict[str, Any]:
    """Return all entries of the registry, of which ``name`` is one.

    Raises ParamsError as `read_entries` does, and where ``name`` is no name or is not registered; ``noun`` says in the
    message what the entries are.
    """
    if not re.fullmatch(SLUG, name):
        raise ParamsError(f"{path}: {name}: a name has letters, digits, - and _ only (it names stages and files)")
    entries = read_entries(path)
    if name not in entries:
        raise ParamsError(f"{path}: no {noun} {name!r}: {did_you_mean(name, entries)}registered: {listed(entries)}")
    return entries
