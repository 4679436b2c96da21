"""Write ``data/tasks/{benchmark}.jsonl`` from a published benchmark: id, prompt, answer, split, source_index.

Usage: python -m stages.paradigms.prepare BENCHMARK
"""

from __future__ import annotations

import json
import logging
from pathlib import Path

from stages.shared.command import run_stage
from stages.shared.files import atomic
from stages.tasks.benchmarks import gsm8k, humaneval, logiqa, mmlu, triviaqa
from stages.tasks.benchmarks.items import read_items
from stages.tasks.benchmarks.prompts import distinct, fill, first, in_order, of_subjects, prefixes, to_row, unseen
from stages.tasks.benchmarks.registry import Benchmark, load_benchmark
from stages.tasks.benchmarks.source import file_rows, hub_rows
from stages.tasks.item import TaskError

log = logging.getLogger(__name__)

LAYOUTS = {"gsm8k": gsm8k, "humaneval": humaneval, "logiqa": logiqa, "mmlu": mmlu, "triviaqa": triviaqa}


def upstream_rows(entry: Benchmark, split: str, file: str | None, sha256: str | None) -> list[dict]:
    return file_rows(Path(file), sha256) if file else hub_rows(entry.hub, entry.config, entry.revision, split)


def evaluated_items(name: str, entry: Benchmark) -> list[dict]:
    """Sound items with distinct prompts, in the order of sampling; all of them, whatever `prompts` says."""
    rows = upstream_rows(entry, entry.split, entry.file, entry.sha256)
    if len(rows) != entry.items:
        raise TaskError(
            f"{name}: {len(rows)} items found, benchmarks.{name}.items expects {entry.items}: "
            f"is it the split {entry.split!r}, and whole? correct the source or the number"
        )
    items = read_items(rows, LAYOUTS[entry.layout], entry.split, name, entry.leave_out)
    items = items if entry.subjects is None else of_subjects(items, entry.subjects)
    return in_order(distinct(items, entry.template, name), entry.items, entry.seed)


def worked_examples(name: str, entry: Benchmark, evaluated: list[dict]) -> dict[str | None, str]:
    """Subject: the text in front of its prompts; nothing without shots."""
    shots = entry.shots
    if shots is None or not shots.count:
        return {}
    layout, rows = LAYOUTS[entry.layout], upstream_rows(entry, shots.split, shots.file, shots.sha256)
    items = unseen(read_items(rows, layout, shots.split, f"{name}, shots"), evaluated, layout)
    subjects = {item.get("subject") for item in evaluated}
    items = [item for item in in_order(items, len(rows), shots.seed) if item.get("subject") in subjects]
    if missing := subjects - {item.get("subject") for item in items}:
        raise TaskError(
            f"{name}: no examples in the split {shots.split!r} for {sorted(map(str, missing))}: name another"
        )
    return prefixes(items, shots.count, entry.template, shots.completion)


def main(benchmark: str) -> None:
    prepare(benchmark)


def prepare(name: str, folder: Path = Path("data/tasks")) -> Path:
    entry = load_benchmark(name)
    items = evaluated_items(name, entry)
    examples = worked_examples(name, entry, items)
    rows = [
        to_row(item, examples.get(item.get("subject"), "") + fill(entry.template, item), LAYOUTS[entry.layout])
        for item in first(items, entry.prompts, name)
    ]
    target = folder / f"{name}.jsonl"
    with atomic(target) as temporary:  # ASCII: no reader may cut a prompt at a line break of Unicode
        temporary.write_text("".join(json.dumps(row) + "\n" for row in rows))
    log.info("%s: %d of %d items", target, len(rows), len(items))
    return target


if __name__ == "__main__":
    run_stage(main, __doc__)
