"""Write ``data/tasks/{task}.jsonl``: id, prompt, answer, split, and worked solutions where the task has them.

Usage: python -m stages.organisms.prepare TASK
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import logging
from collections import Counter
from pathlib import Path

from stages.shared.command import run_stage
from stages.shared.files import atomic
from stages.shared.params import load
from stages.tasks.item import TaskError

log = logging.getLogger(__name__)


def require_distinct(task: str, rows: list[dict]) -> None:
    """Ids are unique and no prompt lies in two splits."""
    repeated = [name for name, count in Counter(row["id"] for row in rows).items() if count > 1]
    if repeated:
        raise TaskError(
            f"task {task!r}: {len(repeated)} ids occur twice, first {repeated[0]}: its prompts must be distinct"
        )


def main(task: str) -> None:
    prepare(task)


def prepare(task: str, folder: Path = Path("data/tasks")) -> Path:
    if not task.isidentifier() or importlib.util.find_spec(f"stages.tasks.{task}") is None:
        raise TaskError(
            f"no task {task!r}: a task is a file stages/tasks/{task}.py with its Params and a function rows(params)"
        )
    module = importlib.import_module(f"stages.tasks.{task}")
    rows = module.rows(load(f"tasks.{task}", module.Params))
    require_distinct(task, rows)
    target = folder / f"{task}.jsonl"
    with atomic(target) as temporary:
        temporary.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    log.info("%s: %s", target, dict(Counter(row["split"] for row in rows)))
    return target


if __name__ == "__main__":
    run_stage(main, __doc__)
