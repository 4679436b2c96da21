"""Documents of plain text: streamed from the hub at a pinned revision, or from a local file."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tqdm import tqdm

from stages.tasks.benchmarks.source import COMMIT, explain_hub_error
from stages.trace.text_registry import FileText, HubText

log = logging.getLogger(__name__)


class TextError(ValueError):
    """Documents cannot be read; the message names the source, what is wrong and the fix."""


def read_documents(entry: HubText | FileText) -> list[str]:
    """Return the first ``entry.documents`` documents that have ``least_characters``, in their order.

    White space around a document is cut off before it is measured. The hub is streamed: no more is downloaded than is
    read. Raises TextError naming the data set or file, what is wrong and the fix.
    """
    if isinstance(entry, HubText):
        source = f"{entry.hub} at {entry.revision}, split {entry.split!r}"
        documents = _hub_documents(entry, source)
    else:
        source = entry.file
        documents = _file_documents(Path(entry.file).expanduser())
    return _long_enough(documents, entry.documents, entry.least_characters, source)


def _long_enough(documents: Iterable[str], count: int, least: int, source: str) -> list[str]:
    """Return the first ``count`` documents that have ``least`` characters; no further one is read."""
    selected, short = [], 0
    with tqdm(total=count, desc=source, unit="document", disable=None) as progress:
        for document in map(str.strip, documents):
            if len(document) < least:
                short += 1
                continue
            selected.append(document)
            progress.update()
            if len(selected) == count:
                break
    if len(selected) < count:
        raise TextError(
            f"{source} has {len(selected)} documents of at least {least} characters ({short} are shorter), expected {count}: "
            "lower documents or least_characters"
        )
    log.info("%s: %d documents, %d skipped that have fewer than %d characters", source, count, short, least)
    return selected


def _hub_documents(entry: HubText, source: str) -> Iterator[str]:
    import datasets  # slow to import, and only the hub needs it

    with _explained(source):
        builder = datasets.load_dataset_builder(entry.hub, entry.config, revision=entry.revision)
    # Offline, the client takes whatever commit was cached last; a builder bears its commit as its hash.
    if COMMIT.fullmatch(entry.revision) and builder.hash != entry.revision:
        raise TextError(
            f"cannot load {source}: the cache holds {builder.hash} and the hub cannot be reached: connect once"
        )
    log.info("%s: commit %s", source, builder.hash)
    with _explained(source):
        rows = enumerate(builder.as_streaming_dataset(split=entry.split))
    while True:
        with _explained(source):
            number, row = next(rows, (None, None))
        if row is None:
            return
        yield _text_of(row, entry.column, f"{source}, row {number}", "correct `column`")


@contextmanager
def _explained(source: str) -> Iterator[None]:
    """Raise errors of the hub's client, which have no common class, as TextError."""
    try:
        yield
    except Exception as error:
        raise TextError(f"cannot load {source}: {explain_hub_error(error)}") from error


def _file_documents(path: Path) -> Iterator[str]:
    if not path.is_file():
        raise TextError(f"{path} is not a file in {Path.cwd()}: correct `file`")
    if path.suffix not in (".txt", ".jsonl"):
        raise TextError(f"{path}: unknown kind of file: expected .txt or .jsonl")
    try:
        content = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise TextError(f"{path} is not UTF-8 text ({error}): save it as UTF-8") from error
    if not content.strip():
        raise TextError(f"{path} is empty: expected documents, in .txt between blank lines, in .jsonl one to a line")
    return iter(re.split(r"\n\s*\n", content)) if path.suffix == ".txt" else _json_lines(path, content)


def _json_lines(path: Path, content: str) -> Iterator[str]:
    for number, line in enumerate(content.split("\n"), 1):  # not splitlines: text may hold U+2028
        if not line.strip():
            continue
        source = f"{path}, line {number}"
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise TextError(
                f"{source} is not JSON ({error.msg}): expected an object to a line, such as {{'text': ...}}"
            ) from error
        if not isinstance(row, dict):
            raise TextError(f"{source} is not a JSON object: expected one with the key 'text'")
        yield _text_of(row, "text", source, "rename it to 'text'")


def _text_of(row: dict, key: str, source: str, fix: str) -> str:
    if key not in row:
        raise TextError(f"{source} has no {key!r}: {fix}; there are: {', '.join(map(repr, row)) or 'none'}")
    if not isinstance(row[key], str):
        raise TextError(f"{source}: {key!r} is {row[key]!r:.60}, expected text: {fix}")
    return row[key]
