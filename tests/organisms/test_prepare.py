"""The stage that generates tasks: complete files, clear errors, nothing half-written."""

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
    path = project / "data/tasks/arithmetic.jsonl"
    prepare.main("arithmetic")
    content = path.read_bytes()
    prepare.main("arithmetic")
    assert path.read_bytes() == content
    assert len(read_rows("arithmetic")) == 50
    assert [row["task"] for row in read_tasks(["arithmetic"], "held_out", 5)] == ["arithmetic"] * 5
    assert [entry.name for entry in path.parent.iterdir()] == ["arithmetic.jsonl"]


@pytest.mark.parametrize("name", ["arithmetics", "item/../arithmetic", "gsm8k"])
def test_an_unknown_task_is_named(project, name):
    with pytest.raises(TaskError, match="no task"):
        prepare.main(name)


def test_a_misspelt_size_is_named_and_nothing_is_written(project):
    (project / "params.yaml").write_text(
        yaml.safe_dump({"tasks": {"arithmetic": {"seed": 0, "train": 30, "heldout": 20}}})
    )
    with pytest.raises(ParamsError, match="did you mean 'held_out'"):
        prepare.main("arithmetic")
    assert not (project / "data").exists()


def test_more_prompts_than_exist_are_an_error(project):
    (project / "params.yaml").write_text(
        yaml.safe_dump({"tasks": {"arithmetic": {"seed": 0, "train": 10, "held_out": 2000}}})
    )
    with pytest.raises(TaskError, match="lower tasks"):
        prepare.main("arithmetic")
