"""Write and read task files, ``data/tasks/{task}.jsonl``: a line has id, prompt, answer, split, and more by the task."""

from __future__ import annotations

import json
import logging
from collections import Counter
from pathlib import Path

from pydantic import Field

from stages.shared.files import FileSource, atomic
from stages.shared.json_files import Record, read_json_lines
from stages.tasks.item import Split, TaskError

log = logging.getLogger(__name__)

FOLDER = Path("data/tasks")


class TaskRow(Record):
    """A line of a task file; worked solutions and what a task adds follow."""

    id: str = Field(min_length=1)
    prompt: str = Field(min_length=1)
    answer: str
    split: Split
    __pydantic_extra__: dict[str, str | int] = Field(init=False)


def write_rows(task: str, rows: list[dict], folder: Path = FOLDER) -> Path:
    """Write ``{folder}/{task}.jsonl``, and return its path. Raises TaskError where an id occurs twice."""
    require_distinct(task, rows)
    target = folder / f"{task}.jsonl"
    with atomic(target) as temporary:  # ASCII: no reader may cut a prompt at a line break of Unicode
        temporary.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    log.info("%s: %s", target, dict(Counter(row["split"] for row in rows)))
    return target


def require_distinct(task: str, rows: list[dict]) -> None:
    """Raise TaskError where an id or a prompt occurs twice: no prompt may lie in two splits."""
    for key in ("id", "prompt"):
        repeated = [name for name, count in Counter(row[key] for row in rows).items() if count > 1]
        if repeated:
            raise TaskError(
                f"task {task!r}: {len(repeated)} {key}s occur twice, first {repeated[0]!r:.80}: its prompts must be distinct"
            )


def read_rows(task: str, split: Split | None = None, folder: Path = FOLDER) -> list[dict]:
    """Return the rows of ``{folder}/{task}.jsonl``, each with its ``task``; of one split, or of all.

    Raises TaskError naming the file, the line and what was expected.
    """
    path = folder / f"{task}.jsonl"
    fix = (
        f"run `dvc repro prepare@{task}` (`prepare-benchmark@{task}` for a published one), "
        f"or restore it with `dvc checkout {path}`"
    )
    lines = read_json_lines(path, TaskRow, FileSource("a task row with id, prompt, answer, split", fix, TaskError))
    rows = [{**row.model_dump(), "task": task} for row in lines]
    try:
        require_distinct(task, rows)
    except TaskError as error:
        raise TaskError(f"{path}: {error}; {fix}") from error
    chosen = [row for row in rows if split in (None, row["split"])]
    if not chosen:
        raise TaskError(f"{path} has no row of the split {split!r}: found {sorted({row['split'] for row in rows})}")
    return chosen


def read_tasks(tasks: list[str], split: Split, count: int | None = None, folder: Path = FOLDER) -> list[dict]:
    """Return the first ``count`` rows of the split of each task, or all of them with None.

    Raises TaskError where a task has fewer.
    """
    result = []
    for task in tasks:
        rows = read_rows(task, split, folder)
        if count is not None and len(rows) < count:
            raise TaskError(
                f"task {task!r} has {len(rows)} {split} prompts, {count} asked for: raise tasks.{task}.{split}, "
                f"or {task}.prompts of data/registry/benchmarks.yaml for a published one, or ask for fewer"
            )
        result += rows[:count]
    return result
