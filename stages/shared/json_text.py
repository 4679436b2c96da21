"""JSON as it was written: no key twice, of which Python would take the last, and no NaN or infinity, which JSON has not."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any


def parse_json(text: str | bytes) -> Any:
    """Return the value of ``text``; raise ValueError saying what is wrong with it and where."""
    try:
        return json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse)
    except RecursionError as error:
        raise ValueError("brackets are nested too deep") from error


def _unique(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {next(key for key in keys if keys.count(key) > 1)!r} stands twice")
    return content


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")
