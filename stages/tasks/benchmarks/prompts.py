"""Turn items into prompts: templates, order, subjects and worked examples."""

from __future__ import annotations

import logging
import random
from collections import Counter, defaultdict
from string import Formatter
from types import ModuleType

from stages.shared.registry import did_you_mean, listed
from stages.tasks.benchmarks.items import layout_name
from stages.tasks.item import TaskError

log = logging.getLogger(__name__)


def fill_template(template: str, item: dict) -> str:
    """Return the template with the item's fields. Raises TaskError naming an unknown field and those available."""
    try:
        names = [name for _, name, _, _ in Formatter().parse(template) if name is not None]
    except ValueError as error:
        raise TaskError(f"template {template!r}: {error}; write {{{{ and }}}} for braces") from error
    available = sorted(item)
    for name in names:
        if name not in available:
            raise TaskError(
                f"template names the unknown field {name!r}: {did_you_mean(name, available)}"
                f"available: {listed(available)}"
            )
    return template.format_map(item)


def select_subjects(items: list[dict], subjects: list[str]) -> list[dict]:
    """Return the items of the subjects. Raises TaskError naming a subject that no item has."""
    present = sorted({item["subject"] for item in items if "subject" in item})
    for subject in subjects:
        if subject not in present:
            raise TaskError(
                f"no item of the subject {subject!r}: {did_you_mean(subject, present)}there are: {listed(present)}"
            )
    return [item for item in items if item["subject"] in subjects]


def shuffle_items(items: list[dict], total: int, seed: int) -> list[dict]:
    """Return the items in a seeded order of which any first n are a sample, the subjects in turn.

    The permutation is of all ``total`` upstream positions, so that what is left out moves nothing else. It is
    ``random.sample``'s: with seed 42 the first 500 of GSM8K are those of the prior study.
    """
    rank = {position: index for index, position in enumerate(random.Random(seed).sample(range(total), total))}
    by_subject, rounds = Counter(), []
    for item in sorted(items, key=lambda item: rank[item["source_index"]]):
        rounds.append((by_subject[item.get("subject")], item))
        by_subject[item.get("subject")] += 1
    return [item for _, item in sorted(rounds, key=lambda pair: pair[0])]


def drop_repeated_prompts(items: list[dict], template: str, source: str) -> list[dict]:
    """Return the items with distinct prompts, the first of each; how many were dropped is logged."""
    by_prompt: dict[str, dict] = {}
    for item in items:
        by_prompt.setdefault(fill_template(template, item), item)
    if dropped := len(items) - len(by_prompt):
        log.warning("%s: %d prompts occur again and are left out", source, dropped)
    return list(by_prompt.values())


def take_first(items: list[dict], count: int | None, name: str) -> list[dict]:
    """Return the first ``count`` items, all with None. Raises TaskError where the benchmark ``name`` has fewer."""
    if count is not None and count > len(items):
        raise TaskError(f"{name}.prompts is {count}, but {len(items)} are left: lower it, or set it to null")
    return items[:count]


def question_key(item: dict, layout: ModuleType) -> str:
    """Return the words of the question, whatever their case and spacing: two items with the same are one question."""
    return " ".join(" ".join(item[field] for field in layout.QUESTION_FIELDS).casefold().split())


def drop_evaluated(examples: list[dict], evaluated: list[dict], layout: ModuleType) -> list[dict]:
    """Return the examples whose question is none of the evaluated ones; how many were dropped is logged."""
    evaluated_keys = {question_key(item, layout) for item in evaluated}
    remaining = [example for example in examples if question_key(example, layout) not in evaluated_keys]
    if dropped := len(examples) - len(remaining):
        log.warning("%s: %d examples ask an evaluated question and are left out", layout_name(layout), dropped)
    return remaining


def example_prefixes(examples: list[dict], count: int, template: str, completion: str) -> dict[str | None, str]:
    """Return by subject its first ``count`` examples, each followed by a blank line; None where items have no subject.

    Raises TaskError where a subject has fewer.
    """
    by_subject = defaultdict(list)
    for example in examples:
        text = fill_template(template, example) + fill_template(completion, example) + "\n\n"
        by_subject[example.get("subject")].append(text)
    for subject, texts in by_subject.items():
        if len(texts) < count:
            description = f" of the subject {subject!r}" if subject else ""
            raise TaskError(f"shots.count is {count}, but there are {len(texts)} examples{description}: lower it")
    return {subject: "".join(texts[:count]) for subject, texts in by_subject.items()}


def benchmark_row(item: dict, prompt: str, layout: ModuleType) -> dict:
    """Return one line of the task file."""
    return {
        "id": item["id"],
        "prompt": prompt,
        "answer": item["answer"],
        "split": "held_out",
        "source_index": item["source_index"],
        **{field: item[field] for field in layout.ROW_FIELDS},
    }
