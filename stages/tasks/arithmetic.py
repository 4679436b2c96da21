"""Generate sums and differences of two or three numbers, worked from the left; the task stands for GSM8K."""

from __future__ import annotations

import random

from stages.tasks.item import Item, Sizes, worked_rows

Params = Sizes

# 200 prompts of two terms and 4,000 of three exist: a quarter of them is held out.
LARGEST_FIRST = 9


def _apply(sign: str, left: int, right: int) -> int:
    return left + right if sign == "+" else left - right


def generate(rng: random.Random) -> Item:
    """Draw a sum or difference of two or three numbers with its worked steps."""
    total = first = rng.randint(0, LARGEST_FIRST)
    expression, steps, sentences = str(first), [], [f"We begin with {first}."]
    for _ in range(rng.choice([1, 2, 2])):
        sign, term = rng.choice("+-"), rng.randint(0, 9)
        previous_total, total = total, _apply(sign, total, term)
        expression += f" {sign} {term}"
        steps.append(f"{previous_total}{sign}{term}={total}")
        sentences.append(f"Next {previous_total}{sign}{term}={total}.")
    return Item(f"Q: {expression} = ?\n", str(total), tuple(steps), tuple(sentences))


def statement(rng: random.Random) -> str:
    """Draw a textbook line: four one-step facts without a question."""
    facts = []
    for _ in range(4):
        sign, left, right = rng.choice("+-"), rng.randint(-9, LARGEST_FIRST + 9), rng.randint(0, 9)
        facts.append(f"{left}{sign}{right}={_apply(sign, left, right)}")
    return ", ".join(facts)


def corrupt(rng: random.Random, answer: str) -> str:
    """Return a wrong answer near the right one."""
    return str(int(answer) + rng.choice([-2, -1, 1, 2]))


def rows(params: Params) -> list[dict]:
    """Return the rows of the task file: both splits, with worked solutions."""
    return worked_rows("arithmetic", generate, params)
