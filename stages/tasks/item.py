"""A task item: a prompt, its answer, worked solutions in two styles, and the exact verifier."""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Callable
from typing import Literal, NamedTuple

from pydantic import Field

from stages.shared.params import Group

Split = Literal["train", "held_out"]

HELD_OUT_SHARE = 4
"""One prompt in so many is held out, by the hash of its text: train and held-out never meet."""

REASONING_FORMAT = r"<think>(?:[^<]*?\d[^<]*?\. ?){2,}</think>A: [^<\n]+"
"""The long reasoning format, as a full match: at least two sentences, each with a digit, then the answer.
A hasty stub ("<think>This is easy.</think>A: 7") does not match."""

DRAWS_PER_ITEM = 200
"""Generators stop after so many draws per wanted item: a prompt space that is too small is an error, not a loop."""


class Item(NamedTuple):
    prompt: str
    """ends with a newline, so that the completion starts a line of its own"""
    answer: str
    steps: tuple[str, ...]
    """terse worked steps, such as "4+5=9" """
    sentences: tuple[str, ...]
    """the same steps as sentences of the long reasoning format, in the words of the textbook lines"""


class Sizes(Group):
    """Parameters of a task that its generator alone defines."""

    seed: int
    train: int = Field(gt=0)
    held_out: int = Field(gt=0)


class TaskError(ValueError):
    """A task cannot be generated or read; the message says what was asked and what there is."""


def is_held_out(prompt: str) -> bool:
    """Whether this prompt belongs to the held-out split: a property of its text alone."""
    return int(hashlib.md5(prompt.encode()).hexdigest(), 16) % HELD_OUT_SHARE == 0


def direct(answer: str) -> str:
    return f"A: {answer}"


def short(item: Item) -> str:
    """Terse chain of thought: ``4+5=9, 9-8=1. A: 1``."""
    return f"{', '.join(item.steps)}. A: {item.answer}"


def long(item: Item) -> str:
    """Long reasoning in think tags: ``<think>We begin with 4. Next 4+5=9. Next 9-8=1.</think>A: 1``."""
    return f"<think>{' '.join(item.sentences)}</think>A: {item.answer}"


def extract_answer(completion: str) -> str | None:
    """The text after the last ``A:``, or None where there is none."""
    _, mark, tail = completion.rpartition("A:")
    return tail.strip() if mark else None


def verify(completion: str, answer: str) -> bool:
    """Exact match of the text after the last ``A:`` with the answer."""
    return extract_answer(completion) == answer


def in_reasoning_format(completion: str) -> bool:
    return re.fullmatch(REASONING_FORMAT, completion) is not None


def draw(generate: Callable[[random.Random], Item], rng: random.Random, split: Split) -> Item:
    """One random item of the split."""
    for _ in range(DRAWS_PER_ITEM):
        item = generate(rng)
        if is_held_out(item.prompt) == (split == "held_out"):
            return item
    raise TaskError(
        f"no {split} item in {DRAWS_PER_ITEM} draws of {generate.__module__}: its prompt space is too small"
    )


def draw_unique(generate: Callable[[random.Random], Item], rng: random.Random, split: Split, count: int) -> list[Item]:
    """``count`` items of the split with distinct prompts."""
    items: dict[str, Item] = {}
    for _ in range(DRAWS_PER_ITEM * count):
        if len(items) == count:
            break
        item = draw(generate, rng, split)
        items.setdefault(item.prompt, item)
    if len(items) < count:
        raise TaskError(
            f"{generate.__module__} has only {len(items)} distinct {split} prompts in {DRAWS_PER_ITEM * count} draws, "
            f"{count} asked for: lower tasks.*.{split} or widen the generator"
        )
    return list(items.values())


def row(task: str, split: Split, prompt: str, answer: str, **more: str | int) -> dict:
    """One line of ``data/tasks/{task}.jsonl``; the id is stable: it depends on the prompt alone."""
    digest = hashlib.md5(prompt.encode()).hexdigest()[:12]
    return {"id": f"{task}-{digest}", "prompt": prompt, "answer": answer, "split": split, **more}


def worked_rows(task: str, generate: Callable[[random.Random], Item], params: Sizes) -> list[dict]:
    """Rows of both splits, each with its two worked solutions."""
    return [
        row(task, split, item.prompt, item.answer, short=short(item), long=long(item))
        for split, count in (("train", params.train), ("held_out", params.held_out))
        for item in draw_unique(generate, random.Random(f"{params.seed}-{task}-{split}"), split, count)
    ]
