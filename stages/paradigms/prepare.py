"""Write ``data/tasks/{benchmark}.jsonl`` from a published benchmark: id, prompt, answer, split, source_index.

Usage: python -m stages.paradigms.prepare BENCHMARK
"""

from __future__ import annotations

import logging
from pathlib import Path

from stages.paradigms.benchmark_items import LAYOUTS, evaluated_items, worked_examples
from stages.shared.cells import name_of
from stages.shared.command import run_stage
from stages.tasks.benchmarks.prompts import benchmark_row, fill_template, take_first
from stages.tasks.benchmarks.registry import load_benchmark
from stages.tasks.rows import FOLDER, write_rows

log = logging.getLogger(__name__)


def main(benchmark: str) -> None:
    """Prepare one benchmark of data/registry/benchmarks.yaml."""
    prepare(benchmark)


def prepare(name: str, folder: Path = FOLDER) -> Path:
    """Write the task file of the benchmark ``name`` and return its path; raises TaskError where the source has changed."""
    entry = load_benchmark(name)
    items = evaluated_items(name, entry)
    examples = worked_examples(name, entry, items)
    rows = [
        benchmark_row(
            item, examples.get(item.get("subject"), "") + fill_template(entry.template, item), LAYOUTS[entry.layout]
        )
        for item in take_first(items, entry.prompts, name)
    ]
    log.info("%s: %d of %d items", name, len(rows), len(items))
    return write_rows(name, rows, folder)


if __name__ == "__main__":
    run_stage(main, __doc__, name_of)
