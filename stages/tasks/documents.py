"""Write and read the documents of a text, ``data/trace/texts/{text}.jsonl``: an object to a line, with the key text."""

from __future__ import annotations

import json
from pathlib import Path

from stages.shared.files import atomic

TEXTS = Path("data/trace/texts")


class TextFileError(ValueError):
    """A text is missing or damaged; the message names the file, the line and the fix."""


def write_text_documents(name: str, documents: list[str], folder: Path = TEXTS) -> None:
    """Write the documents of the text ``name``."""
    with atomic(folder / f"{name}.jsonl") as temporary:
        temporary.write_text("".join(json.dumps({"text": text}) + "\n" for text in documents), encoding="utf-8")


def read_text_documents(name: str, folder: Path = TEXTS) -> list[str]:
    """Return the documents of the text ``name`` in their order.

    Raises TextFileError naming the file, the line and the stage that writes it.
    """
    path = folder / f"{name}.jsonl"
    if not path.is_file():
        raise TextFileError(f"{path} not found: run `dvc repro trace-prepare` or `dvc pull {path}`")
    documents = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            documents.append(json.loads(line)["text"])
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise TextFileError(
                f"{path}, line {number} is no object with the key text: the file may be cut off; restore it with "
                f"`dvc checkout {path}`"
            ) from error
    return documents
