"""From items to prompts: order, subjects, templates and worked examples."""

import random

import pytest

from stages.tasks.benchmarks import logiqa
from stages.tasks.benchmarks.prompts import (
    drop_evaluated,
    drop_repeated_prompts,
    example_prefixes,
    fill_template,
    select_subjects,
    shuffle_items,
    take_first,
)
from stages.tasks.item import TaskError


def items(count, subjects=None):
    return [
        {"id": str(n), "source_index": n, "question": f"q{n}"} | ({"subject": subjects[n]} if subjects else {})
        for n in range(count)
    ]


def test_the_order_is_that_of_random_sample_and_nested():
    ordered = [item["source_index"] for item in shuffle_items(items(1000), 1000, 42)]
    assert ordered[:400] == random.Random(42).sample(range(1000), 400)
    assert sorted(ordered) == list(range(1000))


def test_what_is_left_out_moves_nothing_else():
    whole = shuffle_items(items(50), 50, 3)
    fewer = shuffle_items([item for item in items(50) if item["source_index"] % 7], 50, 3)
    assert fewer == [item for item in whole if item["source_index"] % 7]


def test_subjects_come_in_turn_as_long_as_they_last():
    subjects = ["a"] * 8 + ["b"] * 3
    ordered = shuffle_items(items(11, subjects), 11, 0)
    assert [{item["subject"] for item in ordered[n : n + 2]} for n in (0, 2, 4)] == [{"a", "b"}] * 3
    assert {item["subject"] for item in ordered[6:]} == {"a"}
    assert [item["id"] for item in ordered[:6:2]] != ["0", "1", "2"]


def test_a_template_takes_fields_and_braces_verbatim():
    assert fill_template("{{x}} {question}", {"question": "{y}"}) == "{x} {y}"


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{contxt}", "unknown field 'contxt': did you mean 'context'\\? available: context, question"),
        ("{}", "unknown field ''"),
        ("{question.upper}", "unknown field 'question.upper'"),
        ("}", "write {{ and }}"),
    ],
)
def test_bad_templates_are_named(template, message):
    with pytest.raises(TaskError, match=message):
        fill_template(template, {"context": "c", "question": "q"})


def test_the_first_of_equal_prompts_is_kept(caplog):
    twice = [*items(3), {"id": "3", "source_index": 3, "question": "q1"}]
    assert [item["id"] for item in drop_repeated_prompts(twice, "Q: {question}", "x")] == ["0", "1", "2"]
    assert "1 prompts occur again" in caplog.text


def test_more_prompts_than_are_left_are_an_error():
    assert len(take_first(items(3), None, "x")) == 3
    with pytest.raises(TaskError, match="x.prompts is 4, but 3 are left"):
        take_first(items(3), 4, "x")


def test_evaluated_questions_are_no_examples():
    examples = [{"context": "C", "question": "Q  one"}, {"context": "c", "question": "q two"}]
    assert drop_evaluated(examples, [{"context": "c", "question": "q ONE"}], logiqa) == examples[1:]


def test_examples_are_of_one_subject_and_enough():
    found = example_prefixes(items(4, list("abab")), 2, "{question}?", " yes")
    assert found == {"a": "q0? yes\n\nq2? yes\n\n", "b": "q1? yes\n\nq3? yes\n\n"}
    with pytest.raises(TaskError, match="there are 1 examples of the subject 'b'"):
        example_prefixes(items(3, list("aba")), 2, "{question}?", " yes")


def test_subjects_are_selected_or_named():
    subjects = list("abca")
    assert [item["id"] for item in select_subjects(items(4, subjects), ["a", "c"])] == ["0", "2", "3"]
    with pytest.raises(TaskError, match="no item of the subject 'd'"):
        select_subjects(items(4, subjects), ["d"])
