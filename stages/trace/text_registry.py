"""Parameters of the group `texts`: plain text that is read by every checkpoint of a run."""

from __future__ import annotations

import difflib
import re
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, RootModel

from stages.shared.params import PARAMS_FILE, Group, ParamsError, load

SLUG = r"[A-Za-z0-9][A-Za-z0-9_-]*"


class OrganismText(Group):
    """Documents of the organisms' own kind, drawn anew."""

    source: Literal["organisms"]
    documents: int = Field(gt=0)
    seed: int
    """Of the draw."""


class HubText(Group):
    """The first documents of a data set of the hub, streamed."""

    source: Literal["hub"]
    hub: str
    """Hub id of a data set, organisation/name."""
    config: str | None = None
    """Configuration of the data set."""
    revision: str
    """Commit SHA, or branch verbatim."""
    split: str
    column: str
    """Of the document's text."""
    documents: int = Field(gt=0)
    """Read from the start, those that are too short not counted."""
    least_characters: int = Field(ge=1)
    """A shorter document is skipped."""


class FileText(Group):
    """The first documents of a local file."""

    source: Literal["file"]
    file: str
    """.txt: a document to a paragraph, between blank lines; .jsonl: an object to a line, with the key text."""
    documents: int = Field(gt=0)
    """Read from the start, those that are too short not counted."""
    least_characters: int = Field(ge=1)
    """A shorter document is skipped."""


Text = OrganismText | HubText | FileText
SOURCES: dict[str, type[Text]] = {"organisms": OrganismText, "hub": HubText, "file": FileText}
"""What the key `source` of an entry stands for: it says which other keys the entry has."""


class Registry(RootModel[dict[str, Any]]):
    """All entries, by name; an entry is validated when it is used."""


def load_text(name: str, path: Path = PARAMS_FILE) -> Text:
    """The entry ``name`` of the group; raises ParamsError naming the key and the fix."""
    entries = load("texts", Registry, path).root
    if name not in entries:
        raise ParamsError(f"{path}: no text {name!r} in texts: {_hint(name, entries)}there are: {_listed(entries)}")
    if not re.fullmatch(SLUG, name):
        raise ParamsError(f"{path}: texts.{name}: a name has letters, digits, - and _ only (it names stages and files)")
    source = entries[name].get("source") if isinstance(entries[name], dict) else None
    if not isinstance(source, str) or source not in SOURCES:
        raise ParamsError(
            f"{path}: texts.{name}.source is {source!r}: {_hint(str(source), SOURCES)}expected one of {_listed(SOURCES)}"
        )
    return load(f"texts.{name}", SOURCES[source], path)


def _hint(word: str, choices: dict[str, Any]) -> str:
    close = difflib.get_close_matches(word, choices, n=1)
    return f"did you mean {close[0]!r}? " if close else ""


def _listed(choices: dict[str, Any]) -> str:
    return ", ".join(choices) or "none"
