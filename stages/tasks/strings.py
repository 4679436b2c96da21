"""Generate one or two Python string operations on three digits; the task stands for HumanEval."""

from __future__ import annotations

import random

from stages.tasks.item import Item, Sizes, worked_rows

Params = Sizes

KEEPING = {"s=s[::-1]": lambda s: s[::-1], "s=''.join(sorted(s))": lambda s: "".join(sorted(s))}
SHORTENING = {"s=s[1:]": lambda s: s[1:], "s=s[:-1]": lambda s: s[:-1]}


def _digits(rng: random.Random, count: int) -> str:
    return "".join(str(rng.randint(0, 9)) for _ in range(count))


def _operation(rng: random.Random, text: str) -> tuple[str, str]:
    """Draw an operation as source code, with its result on ``text``; two digits are never shortened."""
    digit = str(rng.randint(0, 9))
    choices = {**KEEPING, f"s=s+'{digit}'": lambda s: s + digit, **(SHORTENING if len(text) > 2 else {})}
    source = rng.choice(list(choices))
    return source, choices[source](text)


def generate(rng: random.Random) -> Item:
    """Draw a program of one or two operations; the answer is what it prints."""
    text = _digits(rng, 3)
    sources, steps, sentences = [f"s='{text}'"], [], [f"The string s is {text}."]
    for _ in range(rng.choice([1, 2, 2])):
        previous_text, (source, text) = text, _operation(rng, text)
        sources.append(source)
        steps.append(text)
        sentences.append(f"Take s='{previous_text}' ; {source} ; {text}.")
    return Item(f"Q: {' ; '.join(sources)} ; print(s) ?\n", text, tuple(steps), tuple(sentences))


def statement(rng: random.Random) -> str:
    """Draw a textbook line: two one-step programs with their results."""
    facts = []
    for _ in range(2):
        text = _digits(rng, rng.choice([3, 3, 4]))
        source, result = _operation(rng, text)
        facts.append(f"s='{text}' ; {source} ; {result}")
    return ", ".join(facts)


def corrupt(rng: random.Random, answer: str) -> str:
    """Return the answer with one digit changed."""
    index = rng.randrange(len(answer))
    digit = rng.choice([d for d in "0123456789" if d != answer[index]])
    return answer[:index] + digit + answer[index + 1 :]


def rows(params: Params) -> list[dict]:
    """Return the rows of the task file: both splits, with worked solutions."""
    return worked_rows("strings", generate, params)
