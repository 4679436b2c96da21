"""A task item is a prompt with its answer and its worked solution in two styles; the verifier is exact."""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Callable
from typing import Literal, NamedTuple

from pydantic import Field

from stages.shared.params import Group, Seed

Split = Literal["train", "held_out"]

# One prompt in so many is held out, by the hash of its text: train and held-out never meet.
HELD_OUT_SHARE = 4

# The long reasoning format, as a full match: at least two sentences, each with a digit, then the answer.
# A hasty stub ("<think>This is easy.</think>A: 7") does not match.
REASONING_FORMAT = r"<think>(?:[^<]*?\d[^<]*?\. ?){2,}</think>A: [^<\n]+"

# Generators stop after so many draws per wanted item: a prompt space that is too small is an error, not a loop.
DRAWS_PER_ITEM = 200


class Item(NamedTuple):
    """A question with its answer and the steps that lead to it."""

    prompt: str
    """It ends with a newline, so that the completion starts a line of its own."""
    answer: str
    steps: tuple[str, ...]
    """Terse worked steps, such as "4+5=9"."""
    sentences: tuple[str, ...]
    """The same steps as sentences of the long reasoning format, in the words of the textbook lines."""


class Sizes(Group):
    """The parameters of a task that its generator alone defines."""

    seed: Seed
    train: int = Field(gt=0)
    held_out: int = Field(gt=0)


class TaskError(ValueError):
    """A task cannot be generated or read; the message says what was asked and what there is."""


def is_held_out(prompt: str) -> bool:
    """Return whether this prompt belongs to the held-out split: a property of its text alone."""
    return int(hashlib.md5(prompt.encode()).hexdigest(), 16) % HELD_OUT_SHARE == 0


def answer_line(answer: str) -> str:
    """Return the answer alone: ``A: 1``."""
    return f"A: {answer}"


def short_solution(item: Item) -> str:
    """Return the terse chain of thought: ``4+5=9, 9-8=1. A: 1``."""
    return f"{', '.join(item.steps)}. A: {item.answer}"


def long_solution(item: Item) -> str:
    """Return the reasoning in think tags: ``<think>We begin with 4. Next 4+5=9. Next 9-8=1.</think>A: 1``."""
    return f"<think>{' '.join(item.sentences)}</think>A: {item.answer}"


def extract_answer(completion: str) -> str | None:
    """Return the text after the last ``A:``, or None where there is none."""
    _, mark, tail = completion.rpartition("A:")
    return tail.strip() if mark else None


def verify(completion: str, answer: str) -> bool:
    """Return whether the text after the last ``A:`` is exactly the answer."""
    return extract_answer(completion) == answer


def has_reasoning_format(completion: str) -> bool:
    """Return whether the whole completion has the long reasoning format, right or wrong."""
    return re.fullmatch(REASONING_FORMAT, completion) is not None


def draw_item(generate: Callable[[random.Random], Item], rng: random.Random, split: Split) -> Item:
    """Draw one item of the split. Raises TaskError where the prompt space holds hardly any."""
    for _ in range(DRAWS_PER_ITEM):
        item = generate(rng)
        if is_held_out(item.prompt) == (split == "held_out"):
            return item
    raise TaskError(
        f"no {split} item in {DRAWS_PER_ITEM} draws of {generate.__module__}: its prompt space is too small"
    )


def draw_distinct_items(
    generate: Callable[[random.Random], Item], rng: random.Random, split: Split, count: int
) -> list[Item]:
    """Draw ``count`` items of the split with distinct prompts. Raises TaskError where there are not so many."""
    items: dict[str, Item] = {}
    for _ in range(DRAWS_PER_ITEM * count):
        if len(items) == count:
            break
        item = draw_item(generate, rng, split)
        items.setdefault(item.prompt, item)
    if len(items) < count:
        raise TaskError(
            f"{generate.__module__} has only {len(items)} distinct {split} prompts in {DRAWS_PER_ITEM * count} draws, "
            f"{count} asked for: lower tasks.*.{split} or widen the generator"
        )
    return list(items.values())


def task_row(task: str, split: Split, prompt: str, answer: str, **more: str | int) -> dict:
    """Return one line of ``data/tasks/{task}.jsonl``; the id is stable: it depends on the prompt alone."""
    digest = hashlib.md5(prompt.encode()).hexdigest()[:12]
    return {"id": f"{task}-{digest}", "prompt": prompt, "answer": answer, "split": split, **more}


def worked_rows(task: str, generate: Callable[[random.Random], Item], params: Sizes) -> list[dict]:
    """Return the rows of both splits, each with its two worked solutions."""
    return [
        task_row(task, split, item.prompt, item.answer, short=short_solution(item), long=long_solution(item))
        for split, count in (("train", params.train), ("held_out", params.held_out))
        for item in draw_distinct_items(generate, random.Random(f"{params.seed}-{task}-{split}"), split, count)
    ]
