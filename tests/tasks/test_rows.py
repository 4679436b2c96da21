"""Task files: what is written can be read, and a damaged file is named with its fix."""

import json

import pytest

from stages.tasks.item import TaskError, task_row
from stages.tasks.rows import read_rows, read_tasks, write_rows

ROWS = [task_row("logic", "held_out", f"Q: {n} ?\n", str(n)) for n in range(20)]


def test_rows_survive_the_file_whatever_line_breaks_they_hold(tmp_path):
    rows = [task_row("logic", "train", "one\u2028two\u0085three\n", "é", kind="k"), *ROWS]
    path = write_rows("logic", rows, tmp_path)
    assert path == tmp_path / "logic.jsonl" and path.read_bytes().isascii()
    assert read_rows("logic", None, tmp_path) == [{**row, "task": "logic"} for row in rows]
    assert len(read_rows("logic", "held_out", tmp_path)) == 20


def test_prompts_that_occur_twice_are_refused(tmp_path):
    with pytest.raises(TaskError, match="ids occur twice"):
        write_rows("logic", [*ROWS, ROWS[3]], tmp_path)
    assert not list(tmp_path.iterdir())


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


def test_too_few_prompts_are_an_error(tmp_path):
    write_rows("logic", ROWS, tmp_path)
    assert read_tasks(["logic"], "held_out", 5, tmp_path) == read_rows("logic", None, tmp_path)[:5]
    with pytest.raises(TaskError, match="20 held_out prompts, 21 asked for"):
        read_tasks(["logic"], "held_out", 21, tmp_path)
