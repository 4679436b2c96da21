"""Generate a task by its name and write ``data/tasks/{task}.jsonl``: id, prompt, answer, split, and worked solutions.

Usage: python -m stages.organisms.prepare TASK
"""

from __future__ import annotations

import importlib
import importlib.util

from stages.shared.cells import name_of
from stages.shared.command import run_stage
from stages.shared.params import load
from stages.tasks.item import TaskError
from stages.tasks.rows import write_rows


def main(task: str) -> None:
    if not task.isidentifier() or importlib.util.find_spec(f"stages.tasks.{task}") is None:
        raise TaskError(
            f"no task {task!r}: a task is a file stages/tasks/{task}.py with its Params and a function rows(params)"
        )
    module = importlib.import_module(f"stages.tasks.{task}")
    write_rows(task, module.rows(load(f"tasks.{task}", module.Params)))


if __name__ == "__main__":
    run_stage(main, __doc__, name_of)
