"""Generate Boolean circuits of one or two gates over three inputs; the task stands for LogiQA."""

from __future__ import annotations

import random

from stages.tasks.item import Item, Sizes, worked_rows

Params = Sizes

INPUTS, GATES = "pqr", "st"
TWO_PLACE = {
    "and": lambda a, b: a & b,
    "or": lambda a, b: a | b,
    "xor": lambda a, b: a ^ b,
    "nand": lambda a, b: 1 - (a & b),
}


def generate(rng: random.Random) -> Item:
    """Draw a circuit with the values of its inputs; the answer is the bits of its gates."""
    value = {name: rng.randint(0, 1) for name in INPUTS}
    head = " ".join(f"{name}={value[name]}" for name in INPUTS)
    equations, steps, sentences = [], [], [f"Inputs are {head}."]
    gates = GATES[: rng.choice([1, 2, 2])]
    for gate in gates:
        operator, names = rng.choice([*TWO_PLACE, "not"]), sorted(value)
        if operator == "not":
            name = rng.choice(names)
            value[gate] = 1 - value[name]
            equations.append(f"{gate} = not {name}")
            steps.append(f"not {value[name]}={value[gate]}")
            sentences.append(f"Gate {gate} is not {name}, {steps[-1]}.")
        else:
            left, right = rng.sample(names, 2)
            value[gate] = TWO_PLACE[operator](value[left], value[right])
            equations.append(f"{gate} = {left} {operator} {right}")
            steps.append(f"{value[left]} {operator} {value[right]}={value[gate]}")
            sentences.append(f"Gate {gate} is {left} {operator} {right}, {steps[-1]}.")
    answer = "".join(str(value[gate]) for gate in gates)
    return Item(f"Q: {head} ; {' ; '.join(equations)} ?\n", answer, tuple(steps), tuple(sentences))


def statement(rng: random.Random) -> str:
    """Draw a textbook line: four rows of truth tables."""
    facts = []
    for _ in range(4):
        operator, left, right = rng.choice([*TWO_PLACE, "not"]), rng.randint(0, 1), rng.randint(0, 1)
        if operator == "not":
            facts.append(f"not {left}={1 - left}")
        else:
            facts.append(f"{left} {operator} {right}={TWO_PLACE[operator](left, right)}")
    return ", ".join(facts)


def corrupt(rng: random.Random, answer: str) -> str:
    """Return the answer with one bit flipped."""
    index = rng.randrange(len(answer))
    return answer[:index] + str(1 - int(answer[index])) + answer[index + 1 :]


def rows(params: Params) -> list[dict]:
    """Return the rows of the task file: both splits, with worked solutions."""
    return worked_rows("logic", generate, params)
