"""Sums and differences of two or three numbers, worked from the left; stands for GSM8K."""

from __future__ import annotations

import random

from stages.tasks.item import Item, Sizes, worked_rows

Params = Sizes

LARGEST_FIRST = 9
"""200 prompts of two terms and 4,000 of three: a quarter of them is held out."""


def _apply(sign: str, left: int, right: int) -> int:
    return left + right if sign == "+" else left - right


def generate(rng: random.Random) -> Item:
    total = first = rng.randint(0, LARGEST_FIRST)
    expression, steps, sentences = str(first), [], [f"We begin with {first}."]
    for _ in range(rng.choice([1, 2, 2])):
        sign, term = rng.choice("+-"), rng.randint(0, 9)
        before, total = total, _apply(sign, total, term)
        expression += f" {sign} {term}"
        steps.append(f"{before}{sign}{term}={total}")
        sentences.append(f"Next {before}{sign}{term}={total}.")
    return Item(f"Q: {expression} = ?\n", str(total), tuple(steps), tuple(sentences))


def statement(rng: random.Random) -> str:
    """A textbook line: four one-step facts without a question."""
    facts = []
    for _ in range(4):
        sign, left, right = rng.choice("+-"), rng.randint(-9, LARGEST_FIRST + 9), rng.randint(0, 9)
        facts.append(f"{left}{sign}{right}={_apply(sign, left, right)}")
    return ", ".join(facts)


def corrupt(rng: random.Random, answer: str) -> str:
    """A wrong answer near the right one."""
    return str(int(answer) + rng.choice([-2, -1, 1, 2]))


def rows(params: Params) -> list[dict]:
    return worked_rows("arithmetic", generate, params)
