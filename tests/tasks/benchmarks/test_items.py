"""Layouts, order, subjects and templates of benchmark items."""

import json
import random

import pytest

from stages.tasks.benchmarks import gsm8k, humaneval, logiqa, mmlu, triviaqa
from stages.tasks.benchmarks.items import BrokenItem, read_items
from stages.tasks.benchmarks.prompts import distinct, fill, first, in_order, prefixes, unseen
from stages.tasks.item import TaskError


def logic(**changes):
    return {"context": "c", "query": "q?", "options": ["one", "two", "three", "four"], "correct_option": 2, **changes}


def test_logiqa_from_the_hub_keeps_options_as_they_stand():
    fields = logiqa.fields(logic(options=["A cat", "B", "Dr. Li", "none"]))
    assert fields["options"] == "A. A cat\nB. B\nC. Dr. Li\nD. none" and fields["answer"] == "C"


@pytest.mark.parametrize(
    "labelled",
    [["A.w", "B.x", "C.y", "D.z"], ["A.w", "C.y", "B.x", "D.z"], ["A w", "B? x", "C: y", "D. z"]],
)
def test_logiqa_labels_decide_the_order(labelled):
    assert logiqa.in_label_order(labelled) == list("wxyz")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"query": "下列哪项正确?"}, "Chinese"),
        ({"options": ["A.w", "B.x", "C.有", "D.z"]}, "Chinese"),
        ({"options": ["w", "x", "y"]}, "not four distinct options"),
        ({"options": ["w", "x", "y", " "]}, "not four distinct options"),
        ({"options": ["w", "x", "y", "y"]}, "not four distinct options"),
        ({"options": ["A.w", "B.x", "the C.y", "D.z"]}, "lost its label"),
        ({"correct_option": 4}, "no such option"),
    ],
)
def test_broken_logiqa_items_have_a_reason(changes, reason):
    with pytest.raises(BrokenItem, match=reason):
        logiqa.fields(logic(**changes))


@pytest.mark.parametrize("empty", ["", " ", None])
def test_an_empty_question_is_left_out(empty, caplog):
    items = read_items([logic(), logic(query=empty)], logiqa, "test", "logiqa")
    assert [item["source_index"] for item in items] == [0]
    assert "1 of 2 items left out: empty query (first logiqa-test-1)" in caplog.text


def test_gsm8k_takes_the_last_number_and_drops_commas_and_notes():
    fields = gsm8k.fields({"question": "q", "answer": "So <<2*3=6>>6.\n#### -1,234.5 "})
    assert fields == {"question": "q", "solution": "So 6.\n#### -1234.5", "answer": "-1234.5"}


def test_mmlu_has_a_topic_and_letters():
    fields = mmlu.fields({"question": "q", "subject": "college_physics", "choices": list("wxyz"), "answer": 3})
    assert fields["topic"] == "college physics" and fields["answer"] == "D"


def test_humaneval_ids_come_from_upstream():
    row = {"task_id": "HumanEval/17", "prompt": "p", "canonical_solution": "s", "entry_point": "f", "test": "t"}
    assert read_items([row], humaneval, "test", "humaneval")[0]["id"] == "humaneval-17"


def trivia(question="Who?", **answer):
    upstream = {"value": "Sinclair Lewis", "aliases": ["Grace Hegger", "Lewis"], "type": "WikipediaEntity"}
    return {"question": question, "question_id": "tc_1", "answer": upstream | answer}


@pytest.mark.parametrize("as_text", [False, True])
def test_triviaqa_has_the_answers_value(as_text):
    row = trivia(" Who? ", value=" Sinclair Lewis")
    row["answer"] = json.dumps(row["answer"]) if as_text else row["answer"]  # as a cell of a .csv file
    assert triviaqa.fields(row) == {"question": "Who?", "answer": "Sinclair Lewis"}


@pytest.mark.parametrize("value", ["", " ", None, "<unk>"])
def test_a_trivia_question_without_an_answer_is_left_out(value, caplog):
    found = read_items([trivia(), trivia(value=value)], triviaqa, "validation", "triviaqa")
    assert [item["id"] for item in found] == ["triviaqa-validation-0"]
    assert "1 of 2 items left out: no answer" in caplog.text


def items(count, subjects=None):
    return [
        {"id": str(n), "source_index": n, "question": f"q{n}"} | ({"subject": subjects[n]} if subjects else {})
        for n in range(count)
    ]


def test_the_order_is_that_of_random_sample_and_nested():
    ordered = [item["source_index"] for item in in_order(items(1000), 1000, 42)]
    assert ordered[:400] == random.Random(42).sample(range(1000), 400)
    assert sorted(ordered) == list(range(1000))


def test_what_is_left_out_moves_nothing_else():
    whole = in_order(items(50), 50, 3)
    fewer = in_order([item for item in items(50) if item["source_index"] % 7], 50, 3)
    assert fewer == [item for item in whole if item["source_index"] % 7]


def test_subjects_come_in_turn_as_long_as_they_last():
    subjects = ["a"] * 8 + ["b"] * 3
    ordered = in_order(items(11, subjects), 11, 0)
    assert [{item["subject"] for item in ordered[n : n + 2]} for n in (0, 2, 4)] == [{"a", "b"}] * 3
    assert {item["subject"] for item in ordered[6:]} == {"a"}
    assert [item["id"] for item in ordered[:6:2]] != ["0", "1", "2"]


def test_a_template_takes_fields_and_braces_verbatim():
    assert fill("{{x}} {question}", {"question": "{y}"}) == "{x} {y}"


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
        fill(template, {"context": "c", "question": "q"})


def test_the_first_of_equal_prompts_is_kept(caplog):
    twice = [*items(3), {"id": "3", "source_index": 3, "question": "q1"}]
    assert [item["id"] for item in distinct(twice, "Q: {question}", "x")] == ["0", "1", "2"]
    assert "1 prompts occur again" in caplog.text


def test_more_prompts_than_are_left_are_an_error():
    assert len(first(items(3), None, "x")) == 3
    with pytest.raises(TaskError, match="benchmarks.x.prompts is 4, but 3 are left"):
        first(items(3), 4, "x")


def test_evaluated_questions_are_no_examples():
    examples = [{"context": "C", "question": "Q  one"}, {"context": "c", "question": "q two"}]
    assert unseen(examples, [{"context": "c", "question": "q ONE"}], logiqa) == examples[1:]


def test_examples_are_of_one_subject_and_enough():
    found = prefixes(items(4, list("abab")), 2, "{question}?", " yes")
    assert found == {"a": "q0? yes\n\nq2? yes\n\n", "b": "q1? yes\n\nq3? yes\n\n"}
    with pytest.raises(TaskError, match="there are 1 examples of the subject 'b'"):
        prefixes(items(3, list("aba")), 2, "{question}?", " yes")
