"""Documents of plain text: streamed from the hub at a pinned revision, or from a local file."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tqdm import tqdm

from stages.tasks.benchmarks.source import COMMIT, FIXES
from stages.trace.text_registry import FileText, HubText

log = logging.getLogger(__name__)


class TextError(ValueError):
    """Documents cannot be read; the message names the source, what is wrong and the fix."""


def read_documents(entry: HubText | FileText) -> list[str]:
    """The first ``entry.documents`` documents that have ``least_characters``, in their order.

    White space around a document is cut off before it is measured. The hub is streamed: no more is downloaded than is
    read. Raises TextError naming the data set or file, what is wrong and the fix.
    """
    if isinstance(entry, HubText):
        where = f"{entry.hub} at {entry.revision}, split {entry.split!r}"
        documents = _hub_documents(entry, where)
    else:
        where = entry.file
        documents = _file_documents(Path(entry.file))
    return _long_enough(documents, entry.documents, entry.least_characters, where)


def _long_enough(documents: Iterable[str], wanted: int, least: int, where: str) -> list[str]:
    """The first ``wanted`` that have ``least`` characters; no further one is asked for."""
    kept, short = [], 0
    with tqdm(total=wanted, desc=where, unit="document", disable=None) as progress:
        for document in map(str.strip, documents):
            if len(document) < least:
                short += 1
                continue
            kept.append(document)
            progress.update()
            if len(kept) == wanted:
                break
    if len(kept) < wanted:
        raise TextError(
            f"{where} has {len(kept)} documents of at least {least} characters ({short} are shorter), expected {wanted}: "
            "lower documents or least_characters"
        )
    log.info("%s: %d documents, %d skipped that have fewer than %d characters", where, wanted, short, least)
    return kept


def _hub_documents(entry: HubText, where: str) -> Iterator[str]:
    import datasets  # slow to import, and only the hub needs it

    with _explained(where):
        builder = datasets.load_dataset_builder(entry.hub, entry.config, revision=entry.revision)
    # Offline, the client takes whatever commit was cached last; a builder bears its commit as its hash.
    if COMMIT.fullmatch(entry.revision) and builder.hash != entry.revision:
        raise TextError(
            f"cannot load {where}: the cache holds {builder.hash} and the hub cannot be reached: connect once"
        )
    log.info("%s: commit %s", where, builder.hash)
    with _explained(where):
        rows = enumerate(builder.as_streaming_dataset(split=entry.split))
    while True:
        with _explained(where):
            number, row = next(rows, (None, None))
        if row is None:
            return
        yield _text_of(row, entry.column, f"{where}, row {number}", "correct `column`")


@contextmanager
def _explained(where: str) -> Iterator[None]:
    """Errors of the hub's client, which have no common class, as TextError."""
    try:
        yield
    except Exception as error:
        text = str(error)
        fix = next(
            (fix for part, fix in FIXES.items() if part in text.lower()), "check hub, config, revision and split"
        )
        raise TextError(f"cannot load {where}: {fix} ({type(error).__name__}: {text})") from error


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
        where = f"{path}, line {number}"
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise TextError(
                f"{where} is not JSON ({error.msg}): expected an object to a line, such as {{'text': ...}}"
            ) from error
        if not isinstance(row, dict):
            raise TextError(f"{where} is not a JSON object: expected one with the key 'text'")
        yield _text_of(row, "text", where, "rename it to 'text'")


def _text_of(row: dict, key: str, where: str, fix: str) -> str:
    if key not in row:
        raise TextError(f"{where} has no {key!r}: {fix}; there are: {', '.join(map(repr, row)) or 'none'}")
    if not isinstance(row[key], str):
        raise TextError(f"{where}: {key!r} is {row[key]!r:.60}, expected text: {fix}")
    return row[key]
