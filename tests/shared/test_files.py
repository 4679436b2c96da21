"""What stands under its final name is complete."""

import json

import numpy as np
import pytest

from stages.shared.files import atomic, atomic_folder, write_json


def test_json_has_six_digits_sorted_keys_and_a_last_newline(tmp_path):
    write_json(tmp_path / "deep" / "a.json", {"b": 1 / 3, "a": [np.float64(2e-9 / 3), True, "x", None, 7]})
    text = (tmp_path / "deep" / "a.json").read_text()
    assert json.loads(text) == {"a": [6.66667e-10, True, "x", None, 7], "b": 0.333333}
    assert text.index('"a"') < text.index('"b"') and text.endswith("}\n")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_json_refuses_what_is_no_number(tmp_path, value):
    with pytest.raises(ValueError, match="cannot be written to JSON"):
        write_json(tmp_path / "a.json", {"x": {"y": value}})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("writer", [atomic, atomic_folder])
def test_a_failure_leaves_the_old_content_and_no_litter(tmp_path, writer):
    target = tmp_path / "out"
    if writer is atomic:
        target.write_text("old")
    else:
        target.mkdir()
        (target / "old").touch()
    with pytest.raises(RuntimeError), writer(target) as temporary:
        (temporary if writer is atomic else temporary / "new").write_text("half")
        raise RuntimeError
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert target.read_text() == "old" if writer is atomic else [p.name for p in target.iterdir()] == ["old"]


def test_a_folder_is_replaced_as_a_whole(tmp_path):
    target = tmp_path / "out"
    for name in ("first", "second"):
        with atomic_folder(target) as temporary:
            (temporary / name).touch()
    assert [path.name for path in target.iterdir()] == ["second"]


@pytest.mark.parametrize("writer", [atomic, atomic_folder])
def test_what_a_killed_run_left_is_removed_by_the_next(tmp_path, writer):
    target = tmp_path / "out"
    (tmp_path / ".out.abc.partial").mkdir()
    (tmp_path / ".out.def.partial").touch()
    (tmp_path / ".other.abc.partial").touch()
    with writer(target) as temporary:
        (temporary if writer is atomic else temporary / "new").write_text("whole")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".other.abc.partial", "out"]
