"""From items to prompts: templates, order, subjects and worked examples."""

from __future__ import annotations

import difflib
import logging
import random
from collections import Counter, defaultdict
from string import Formatter
from types import ModuleType

from stages.tasks.benchmarks.items import layout_name
from stages.tasks.item import TaskError

log = logging.getLogger(__name__)


def fill(template: str, item: dict) -> str:
    """The template with the item's fields. Raises TaskError naming an unknown field and those available."""
    try:
        names = [name for _, name, _, _ in Formatter().parse(template) if name is not None]
    except ValueError as error:
        raise TaskError(f"template {template!r}: {error}; write {{{{ and }}}} for braces") from error
    available = sorted(item)
    for name in names:
        if name not in available:
            close = difflib.get_close_matches(name, available, n=1)
            hint = f"did you mean {close[0]!r}? " if close else ""
            raise TaskError(f"template names the unknown field {name!r}: {hint}available: {', '.join(available)}")
    return template.format_map(item)


def of_subjects(items: list[dict], subjects: list[str]) -> list[dict]:
    """Items of the subjects. Raises TaskError naming a subject that no item has."""
    present = {item["subject"] for item in items if "subject" in item}
    for subject in subjects:
        if subject not in present:
            close = difflib.get_close_matches(subject, present, n=1)
            hint = f"did you mean {close[0]!r}? " if close else ""
            raise TaskError(
                f"no item of the subject {subject!r}: {hint}there are: {', '.join(sorted(present)) or 'none'}"
            )
    return [item for item in items if item["subject"] in subjects]


def in_order(items: list[dict], total: int, seed: int) -> list[dict]:
    """Items in a seeded order of which any first n are a sample, the subjects in turn.

    The permutation is of all ``total`` upstream positions, so that what is left out moves nothing else. It is
    ``random.sample``'s: with seed 42 the first 500 of GSM8K are those of the prior study.
    """
    rank = {position: place for place, position in enumerate(random.Random(seed).sample(range(total), total))}
    by_subject, rounds = Counter(), []
    for item in sorted(items, key=lambda item: rank[item["source_index"]]):
        rounds.append((by_subject[item.get("subject")], item))
        by_subject[item.get("subject")] += 1
    return [item for _, item in sorted(rounds, key=lambda pair: pair[0])]


def distinct(items: list[dict], template: str, where: str) -> list[dict]:
    """Items with distinct prompts, the first of each; how many were dropped is logged."""
    by_prompt: dict[str, dict] = {}
    for item in items:
        by_prompt.setdefault(fill(template, item), item)
    if dropped := len(items) - len(by_prompt):
        log.warning("%s: %d prompts occur again and are left out", where, dropped)
    return list(by_prompt.values())


def first(items: list[dict], count: int | None, name: str) -> list[dict]:
    """The first ``count`` items, all with None. Raises TaskError where there are fewer."""
    if count is not None and count > len(items):
        raise TaskError(f"benchmarks.{name}.prompts is {count}, but {len(items)} are left: lower it, or set it to null")
    return items[:count]


def question(item: dict, layout: ModuleType) -> str:
    """What makes two items the same question: its words, whatever the case and spacing."""
    return " ".join(" ".join(item[field] for field in layout.QUESTION).casefold().split())


def unseen(examples: list[dict], evaluated: list[dict], layout: ModuleType) -> list[dict]:
    """Examples whose question is none of the evaluated ones; how many were dropped is logged."""
    known = {question(item, layout) for item in evaluated}
    kept = [example for example in examples if question(example, layout) not in known]
    if dropped := len(examples) - len(kept):
        log.warning("%s: %d examples ask an evaluated question and are left out", layout_name(layout), dropped)
    return kept


def prefixes(examples: list[dict], count: int, template: str, completion: str) -> dict[str | None, str]:
    """Subject: its first ``count`` examples, each followed by a blank line; None where items have no subject."""
    by_subject = defaultdict(list)
    for example in examples:
        by_subject[example.get("subject")].append(fill(template, example) + fill(completion, example) + "\n\n")
    for subject, texts in by_subject.items():
        if len(texts) < count:
            of = f" of the subject {subject!r}" if subject else ""
            raise TaskError(f"shots.count is {count}, but there are {len(texts)} examples{of}: lower it")
    return {subject: "".join(texts[:count]) for subject, texts in by_subject.items()}


def to_row(item: dict, prompt: str, layout: ModuleType) -> dict:
    """One line of the task file."""
    kept = {field: item[field] for field in layout.KEPT}
    return {
        "id": item["id"],
        "prompt": prompt,
        "answer": item["answer"],
        "split": "held_out",
        "source_index": item["source_index"],
        **kept,
    }
