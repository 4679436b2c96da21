"""The prepare stage and the task reader: complete files, clear errors, nothing half-written."""

import json

import pytest
import yaml

from stages.organisms import prepare
from stages.shared.params import ParamsError
from stages.tasks.item import TaskError
from stages.tasks.rows import read_rows, read_tasks


@pytest.fixture
def project(tmp_path, monkeypatch):
    """An empty project with small sizes."""
    monkeypatch.chdir(tmp_path)
    params = {"tasks": {"arithmetic": {"seed": 0, "train": 30, "held_out": 20}}}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    return tmp_path


def test_a_task_file_is_complete_and_repeats_to_the_byte(project):
    path = prepare.prepare("arithmetic")
    first = path.read_bytes()
    assert prepare.prepare("arithmetic").read_bytes() == first
    assert len(read_rows("arithmetic")) == 50
    assert [row["task"] for row in read_tasks(["arithmetic"], "held_out", 5)] == ["arithmetic"] * 5
    assert [entry.name for entry in path.parent.iterdir()] == ["arithmetic.jsonl"]


@pytest.mark.parametrize("name", ["arithmetics", "item/../arithmetic", "gsm8k"])
def test_an_unknown_task_is_named(project, name):
    with pytest.raises(TaskError, match="no task"):
        prepare.prepare(name)


def test_a_misspelt_size_is_named_and_nothing_is_written(project):
    (project / "params.yaml").write_text(
        yaml.safe_dump({"tasks": {"arithmetic": {"seed": 0, "train": 30, "heldout": 20}}})
    )
    with pytest.raises(ParamsError, match="did you mean 'held_out'"):
        prepare.prepare("arithmetic")
    assert not (project / "data").exists()


def test_more_prompts_than_exist_are_an_error(project):
    (project / "params.yaml").write_text(
        yaml.safe_dump({"tasks": {"arithmetic": {"seed": 0, "train": 10, "held_out": 2000}}})
    )
    with pytest.raises(TaskError, match="lower tasks"):
        prepare.prepare("arithmetic")


def test_prompts_that_occur_twice_are_refused():
    with pytest.raises(TaskError, match="ids occur twice"):
        prepare.require_distinct("x", [{"id": "x-1"}, {"id": "x-1"}])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "dvc repro prepare@logic"),
        ('{"id": "a", "prompt": "p", "ans', "line 1 is not JSON"),
        (json.dumps({"id": "a", "prompt": "p", "split": "train"}), "line 1 has no answer"),
        (json.dumps({"id": "a", "prompt": "p", "answer": "1", "split": "train"}), "no row of the split 'held_out'"),
    ],
)
def test_a_bad_task_file_is_named_with_its_fix(tmp_path, content, message):
    if content is not None:
        (tmp_path / "logic.jsonl").write_text(content)
    with pytest.raises(TaskError, match=message):
        read_rows("logic", "held_out", tmp_path)


def test_too_few_prompts_are_an_error(project):
    prepare.prepare("arithmetic")
    with pytest.raises(TaskError, match="20 held_out prompts, 21 asked for"):
        read_tasks(["arithmetic"], "held_out", 21)
