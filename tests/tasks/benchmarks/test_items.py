"""Items of benchmarks by their layouts."""

import json

import pytest

from stages.tasks.benchmarks import gsm8k, humaneval, logiqa, mmlu, triviaqa
from stages.tasks.benchmarks.items import BrokenItem, read_items


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
    assert logiqa.order_by_label(labelled) == list("wxyz")


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
