"""Generated tasks: answers checked by Python itself, splits disjoint, prompt spaces wide enough."""

import random
import re

import pytest

from stages.tasks import arithmetic, logic, strings
from stages.tasks.item import (
    Item,
    Sizes,
    TaskError,
    draw_distinct_items,
    extract_answer,
    has_reasoning_format,
    is_held_out,
    long_solution,
    short_solution,
    verify,
)

WORKED = [arithmetic, logic, strings]
SIZES = Sizes(seed=0, train=50, held_out=50)


def by_python(task, prompt: str) -> str:
    """The answer as Python's own interpreter gives it."""
    question = prompt.removeprefix("Q: ").removesuffix(" ?\n")
    if task is arithmetic:
        return str(eval(question.removesuffix(" =")))
    if task is strings:
        printed = []
        exec(question.replace(" ; ", "\n"), {"print": printed.append})
        return printed[0]
    head, *gates = question.split(" ; ")
    names = {name: bool(int(bit)) for name, bit in (pair.split("=") for pair in head.split())}
    for gate in gates:
        target, expression = gate.split(" = ")
        expression = re.sub(r"(\w) nand (\w)", r"not (\1 and \2)", expression).replace("xor", "!=")
        names[target] = eval(expression, {}, dict(names))
    return "".join(str(int(names[gate.split(" = ")[0]])) for gate in gates)


@pytest.mark.parametrize("task", WORKED, ids=lambda task: task.__name__)
def test_answers_are_right_and_solutions_end_in_them(task):
    rng = random.Random(1)
    for _ in range(300):
        item = task.generate(rng)
        assert item.answer == by_python(task, item.prompt)
        assert verify(short_solution(item), item.answer) and verify(long_solution(item), item.answer)
        assert has_reasoning_format(long_solution(item))
        assert task.corrupt(rng, item.answer) != item.answer
        assert not verify(f"A: {task.corrupt(rng, item.answer)}", item.answer)


@pytest.mark.parametrize("task", WORKED, ids=lambda task: task.__name__)
def test_a_thousand_held_out_prompts_exist_and_splits_are_disjoint(task):
    held_out = {item.prompt for item in draw_distinct_items(task.generate, random.Random(0), "held_out", 1000)}
    train = {item.prompt for item in draw_distinct_items(task.generate, random.Random(0), "train", 1000)}
    assert len(held_out) == len(train) == 1000
    assert not held_out & train
    assert all(is_held_out(prompt) for prompt in held_out)


@pytest.mark.parametrize("task", WORKED, ids=lambda task: task.__name__)
def test_rows_are_reproducible_and_have_every_column(task):
    rows = task.rows(SIZES)
    assert rows == task.rows(SIZES)
    assert rows != task.rows(Sizes(seed=1, train=50, held_out=50))
    assert [row["split"] for row in rows] == ["train"] * 50 + ["held_out"] * 50
    assert len({row["id"] for row in rows}) == 100
    assert all({"id", "prompt", "answer", "split", "short", "long"} == set(row) for row in rows)


def test_a_prompt_space_that_is_too_small_is_an_error_not_a_loop():
    def tiny(rng):
        return Item(f"Q: {rng.randint(0, 9)} ?\n", "0", ("0",), ("0.",))

    with pytest.raises(TaskError, match="only .* distinct"):
        draw_distinct_items(tiny, random.Random(0), "train", 100)


@pytest.mark.parametrize(
    ("completion", "answer"),
    [("A: 7", "7"), ("4+5=9. A: 9", "9"), ("A: 1\nA: 2", "2"), ("7", None), ("A:", ""), ("", None)],
)
def test_the_answer_is_what_follows_the_last_mark(completion, answer):
    assert extract_answer(completion) == answer


@pytest.mark.parametrize(
    "stub",
    [
        "<think>This is easy.</think>A: 7",
        "<think>7.</think>A: 7",
        "<think></think>A: 7",
        "We begin with 4. Plus 3: from 4 we get 7. A: 7",
        "<think>We begin with 4. Plus 3: from 4 we get 7.</think>",
        "<think>We begin with 4. Plus 3: from 4 we get 7. A: 7",
    ],
)
def test_a_hasty_stub_is_not_the_reasoning_format(stub):
    assert not has_reasoning_format(stub)
