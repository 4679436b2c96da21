"""Read the raw rows of a benchmark: from the hub at a pinned commit, or from a local file."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import logging
import re
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from stages.shared.files import FileSource
from stages.shared.json_files import parse_json
from stages.tasks.item import TaskError

log = logging.getLogger(__name__)

COMMIT = re.compile(r"[0-9a-f]{40}")

OFFLINE = "the hub cannot be reached and the cache lacks the data set: connect once, or give `file`"
# What to do, by a part of an error of the hub's client. The first part that matches counts.
FIXES = {
    "couldn't reach": OFFLINE,
    "couldn't find cache": OFFLINE,
    "gated": "the data set is gated: accept its terms on its page, then set HF_TOKEN, or give `file`",
    "revision": "no such revision: choose a commit or branch of the data set's page",
    "doesn't exist": "no such public data set: correct `hub`, or set HF_TOKEN if it is private",
    "scripts are no longer": "loading scripts are not run: choose a revision with parquet, such as refs/convert/parquet",
    "config": "no such configuration: correct `config`",
    "split": "no such split: correct `split`",
}

JSON_LINE = FileSource("a JSON object", "correct the line", ValueError)
# An item in LogiQA's own text has these lines: blank, letter of the answer, context, question, four options.
TEXT_LINES = 8


def explain_hub_error(error: Exception) -> str:
    """Return the fix for an error of the hub's client, and the error itself."""
    text = str(error)
    fix = next((fix for part, fix in FIXES.items() if part in text.lower()), "check hub, config, revision and split")
    return f"{fix} ({type(error).__name__}: {text})"


def hub_rows(hub: str, config: str | None, revision: str, split: str) -> list[dict]:
    """Return the rows of a split of a hub data set. Raises TaskError naming the data set, what failed and the fix."""
    import datasets  # slow to import, and only the hub needs it

    source = f"{hub} at {revision}, split {split!r}"
    try:
        dataset = datasets.load_dataset(hub, config, revision=revision, split=split)
    except Exception as error:  # files, network, configuration: the client's errors have no common class
        raise TaskError(f"cannot load {source}: {explain_hub_error(error)}") from error
    commit = Path(dataset.cache_files[0]["filename"]).parent.name
    # Offline, the client takes whatever commit was cached last.
    if COMMIT.fullmatch(revision) and commit != revision:
        raise TaskError(f"cannot load {source}: the cache holds {commit} and the hub cannot be reached: connect once")
    log.info("%s: %d rows at commit %s", source, len(dataset), commit)
    return list(dataset)


def file_rows(path: Path, sha256: str | None = None) -> list[dict]:
    """Return the rows of a local file, read by its ending. Raises TaskError naming the file, what is wrong and the fix."""
    if not path.is_file():
        raise TaskError(f"{path} is not a file in {Path.cwd()}: correct `file`, or set it to null to use the hub")
    read = next((read for ending, read in READERS.items() if path.name.endswith(ending)), None)
    if read is None:
        raise TaskError(f"{path}: unknown kind of file: expected one of {', '.join(READERS)}")
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    if sha256 not in (None, digest):
        raise TaskError(
            f"{path} has the sha256 {digest}, expected {sha256}: restore the file, or correct `sha256` if the new one is meant"
        )
    try:
        rows = read(content)
    except (
        ValueError,
        EOFError,
        OSError,
        NotImplementedError,
        zlib.error,
        csv.Error,
    ) as error:  # pyarrow: not implemented
        raise TaskError(f"{path} cannot be read ({error}): it may be cut off; copy or download it again") from error
    log.info("%s: %d rows, sha256 %s", path, len(rows), digest)
    return rows


def _json_lines(content: bytes) -> list[dict]:
    rows = []
    for number, line in enumerate(content.decode("utf-8-sig").split("\n"), 1):  # not splitlines: text may hold U+2028
        if line.strip():
            rows.append(parse_json(line, dict[str, Any], f"line {number}", JSON_LINE))
    return rows


def _compressed_json_lines(content: bytes) -> list[dict]:
    return _json_lines(gzip.decompress(content))


def _parquet(content: bytes) -> list[dict]:
    from pyarrow import parquet  # only this kind of file needs it

    return parquet.read_table(io.BytesIO(content)).to_pylist()


def _comma_separated(content: bytes) -> list[dict]:
    """Read .csv with a header; a list stands as JSON in its cell."""
    rows = list(csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline=""), strict=True))
    for number, row in enumerate(rows, 1):
        if None in row or None in row.values():
            raise ValueError(f"row {number} has not as many cells as the header")
    return rows


def _logiqa_text(content: bytes) -> list[dict]:
    """Read LogiQA's own form, under the column names of its parquet form; the options keep their labels."""
    lines = content.decode("utf-8-sig").replace("\r\n", "\n").removesuffix("\n").split("\n")
    if len(lines) % TEXT_LINES:
        raise ValueError(f"{len(lines)} lines are not a multiple of {TEXT_LINES}")
    rows = []
    for start in range(0, len(lines), TEXT_LINES):
        blank, letter, context, query, *options = lines[start : start + TEXT_LINES]
        if blank.strip() or letter.strip() not in tuple("abcd"):
            raise ValueError(f"line {start + 1}: expected a blank line, then a, b, c or d; found {blank!r}, {letter!r}")
        rows.append(
            {"context": context, "query": query, "options": options, "correct_option": "abcd".index(letter.strip())}
        )
    return rows


READERS: dict[str, Callable[[bytes], list[dict]]] = {
    ".jsonl": _json_lines,
    ".jsonl.gz": _compressed_json_lines,
    ".parquet": _parquet,
    ".csv": _comma_separated,
    ".txt": _logiqa_text,
}
