"""Write and read the documents of a text, ``data/trace/texts/{text}.jsonl``: an object to a line, with the key text."""

from __future__ import annotations

import json
from pathlib import Path

from stages.shared.files import FileError, FileSource, atomic
from stages.shared.json_files import Record, read_json_lines

TEXTS = Path("data/trace/texts")


class TextFileError(FileError):
    """A text is missing or damaged; the message names the file, the line and the fix."""


class TextRow(Record):
    """A line of a text."""

    text: str


def write_text_documents(name: str, documents: list[str], folder: Path = TEXTS) -> None:
    """Write the documents of the text ``name``."""
    with atomic(folder / f"{name}.jsonl") as temporary:
        temporary.write_text("".join(json.dumps({"text": text}) + "\n" for text in documents), encoding="utf-8")


def read_text_documents(name: str, folder: Path = TEXTS) -> list[str]:
    """Return the documents of the text ``name`` in their order.

    Raises TextFileError naming the file, the line and the stage that writes it.
    """
    path = folder / f"{name}.jsonl"
    fix = f"run `dvc repro trace-prepare`, or restore it with `dvc checkout {path}`"
    return [
        row.text
        for row in read_json_lines(path, TextRow, FileSource("an object with the key text", fix, TextFileError))
    ]
