"""Read task files."""

from __future__ import annotations

import json
from pathlib import Path

from stages.tasks.item import Split, TaskError

FOLDER = Path("data/tasks")
REQUIRED = ("id", "prompt", "answer", "split")


def read_rows(task: str, split: Split | None = None, folder: Path = FOLDER) -> list[dict]:
    """Rows of ``{folder}/{task}.jsonl``, each with its ``task``; of one split, or of all.

    Raises TaskError naming the file, the line and what is missing.
    """
    path = folder / f"{task}.jsonl"
    if not path.exists():
        raise TaskError(
            f"{path} not found: run `dvc repro prepare@{task}` (`prepare-benchmark@{task}` for a published one) or `dvc pull {path}`"
        )
    rows = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise TaskError(
                f"{path}, line {number} is not JSON ({error.msg}): the file may be cut off; restore it with `dvc checkout {path}`"
            ) from error
        missing = [key for key in REQUIRED if key not in row]
        if missing:
            raise TaskError(
                f"{path}, line {number} has no {', '.join(missing)}: every line needs {', '.join(REQUIRED)}"
            )
        rows.append({**row, "task": task})
    chosen = [row for row in rows if split in (None, row["split"])]
    if not chosen:
        raise TaskError(f"{path} has no row of the split {split!r}: found {sorted({row['split'] for row in rows})}")
    return chosen


def read_tasks(tasks: list[str], split: Split, count: int | None = None, folder: Path = FOLDER) -> list[dict]:
    """The first ``count`` rows of the split of each task (all of them with None); too few are an error."""
    result = []
    for task in tasks:
        rows = read_rows(task, split, folder)
        if count is not None and len(rows) < count:
            raise TaskError(
                f"task {task!r} has {len(rows)} {split} prompts, {count} asked for: raise tasks.{task}.{split}, "
                f"or benchmarks.{task}.prompts of a published one, or ask for fewer"
            )
        result += rows[:count]
    return result
