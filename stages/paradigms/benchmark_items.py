"""The items of a published benchmark: those that are evaluated, and those that are worked examples in front of them."""

from __future__ import annotations

from pathlib import Path

from stages.tasks.benchmarks import gsm8k, humaneval, logiqa, mmlu, triviaqa
from stages.tasks.benchmarks.items import read_items
from stages.tasks.benchmarks.prompts import (
    drop_evaluated,
    drop_repeated_prompts,
    example_prefixes,
    select_subjects,
    shuffle_items,
)
from stages.tasks.benchmarks.registry import Benchmark
from stages.tasks.benchmarks.source import file_rows, hub_rows
from stages.tasks.item import TaskError

# Layout of a registry entry: the module that reads its rows.
LAYOUTS = {"gsm8k": gsm8k, "humaneval": humaneval, "logiqa": logiqa, "mmlu": mmlu, "triviaqa": triviaqa}


def upstream_rows(entry: Benchmark, split: str, file: str | None, sha256: str | None) -> list[dict]:
    """Return the published rows of ``split``, from the hub, or from ``file`` if it is named, checked by its hash."""
    return (
        file_rows(Path(file).expanduser(), sha256) if file else hub_rows(entry.hub, entry.config, entry.revision, split)
    )


def evaluated_items(name: str, entry: Benchmark) -> list[dict]:
    """Return sound items with distinct prompts, in the order of sampling; all of them, whatever `prompts` says."""
    rows = upstream_rows(entry, entry.split, entry.file, entry.sha256)
    if len(rows) != entry.items:
        raise TaskError(
            f"{name}: {len(rows)} items found, {name}.items expects {entry.items}: "
            f"is it the split {entry.split!r}, and whole? correct the source or the number"
        )
    items = read_items(rows, LAYOUTS[entry.layout], entry.split, name, entry.leave_out)
    items = items if entry.subjects is None else select_subjects(items, entry.subjects)
    return shuffle_items(drop_repeated_prompts(items, entry.template, name), entry.items, entry.seed)


def worked_examples(name: str, entry: Benchmark, evaluated: list[dict]) -> dict[str | None, str]:
    """Return for each subject the text in front of its prompts; nothing without shots."""
    shots = entry.shots
    if shots is None or not shots.count:
        return {}
    layout, rows = LAYOUTS[entry.layout], upstream_rows(entry, shots.split, shots.file, shots.sha256)
    items = drop_evaluated(read_items(rows, layout, shots.split, f"{name}, shots"), evaluated, layout)
    subjects = {item.get("subject") for item in evaluated}
    items = [item for item in shuffle_items(items, len(rows), shots.seed) if item.get("subject") in subjects]
    if missing := subjects - {item.get("subject") for item in items}:
        raise TaskError(
            f"{name}: no examples in the split {shots.split!r} for {sorted(map(str, missing))}: name another"
        )
    return example_prefixes(items, shots.count, entry.template, shots.completion)
