"""The registry of texts, ``data/registry/texts.yaml``: plain text that is read by every checkpoint of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from stages.shared.params import Group, ParamsError, Seed, load
from stages.shared.registry import did_you_mean, listed, read_entries_with

TEXT_REGISTRY = Path("data/registry/texts.yaml")


class OrganismText(Group):
    """Documents of the organisms' own kind, drawn anew."""

    source: Literal["organisms"]
    documents: int = Field(gt=0)
    seed: Seed
    """Seed of the draw."""


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
    """Column that holds a document's text."""
    documents: int = Field(gt=0)
    """Number of documents read from the start, those that are too short not counted."""
    least_characters: int = Field(ge=1)
    """A shorter document is skipped."""


class FileText(Group):
    """The first documents of a local file."""

    source: Literal["file"]
    file: str
    """.txt: a document to a paragraph, between blank lines; .jsonl: an object to a line, with the key text."""
    documents: int = Field(gt=0)
    """Number of documents read from the start, those that are too short not counted."""
    least_characters: int = Field(ge=1)
    """A shorter document is skipped."""


Text = OrganismText | HubText | FileText
# The key `source` of an entry says which other keys the entry has.
SOURCES: dict[str, type[Text]] = {"organisms": OrganismText, "hub": HubText, "file": FileText}


def load_text(name: str, path: Path = TEXT_REGISTRY) -> Text:
    """Return the entry ``name`` of the registry. Raises ParamsError naming the file, the key and the fix."""
    entry = read_entries_with(name, "text", path)[name]
    source = entry.get("source") if isinstance(entry, dict) else None
    if not isinstance(source, str) or source not in SOURCES:
        raise ParamsError(
            f"{path}: {name}.source is {source!r}: {did_you_mean(source, SOURCES)}expected one of {listed(SOURCES)}"
        )
    return load(name, SOURCES[source], path)
