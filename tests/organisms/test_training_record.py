"""Records of trainings: whatever a reader takes out of one is a number in its range, or the file is refused by name."""

import copy
import json
import math
from typing import Any

import pytest

from stages.organisms.training_records import read_distance, read_training_record
from stages.paradigms.training_metrics import read_training
from stages.shared.files import FileError, FileSource
from stages.shared.json_files import parse_json
from stages.shared.tables import TableError
from tests.support.project import ROOT
from tests.support.training_records import training_record

MATCHING = {"by": "displacement", "wanted": 0.03, "reached": 0.0303, "relative_gap": 0.01}
TARGET = {"quantity": "format_share", "wanted": "at least 0.95", "value": 0.9, "met": False}
WHOLE = training_record(
    displacement_from_parent=0.02,
    kl_from_parent={"value": 0.2, "standard_error": 0.02},
    matching=MATCHING,
    target=TARGET,
    worlds={"guild": 0.9},
)


def numbers_of(node: object, path: tuple = ()):
    """Yield the path of every number in a record."""
    if isinstance(node, dict):
        for key, value in node.items():
            yield from numbers_of(value, (*path, key))
    elif isinstance(node, float):
        yield path


PATHS = list(numbers_of(WHOLE))


def written(folder, content) -> object:
    path = folder / "sft-s0.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def changed(path: tuple, value: object) -> dict:
    content = copy.deepcopy(WHOLE)
    node = content
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = value
    return content


def test_the_committed_records_are_sound():
    paths = sorted((ROOT / "metrics/train").glob("*.json"))
    assert paths
    for path in paths:
        assert read_training_record(path).accuracy


@pytest.mark.parametrize("path", PATHS, ids=".".join)
def test_no_number_outside_its_range_is_read(tmp_path, path):
    low = [] if path[-1] == "relative_gap" or path[0] in ("gain_over_base", "target") else [-1, -0.01]
    low += [] if path[0].startswith("displacement") else [None]  # as if there were none: see the next test
    for value in [math.nan, math.inf, -math.inf, 1e300, -1e300, -4, 10**400, "0.1", True, [], *low]:
        with pytest.raises(TableError, match=r"sft-s0.json.*; expected the record of a training; .*`dvc repro sft`"):
            read_training_record(written(tmp_path, changed(path, value)))


@pytest.mark.parametrize("read", [read_training, lambda path: read_distance(path, "kl", "base")])
def test_every_reader_refuses_it(tmp_path, read):
    read(written(tmp_path, WHOLE))
    for content in (
        changed(("kl_from_base", "value"), -0.5), training_record(kl_from_base=None), WHOLE | {"kl_from_base": None}, "", "{", "[]", "null", "5",
        json.dumps(WHOLE)[:-9], json.dumps(WHOLE)[:-1] + ', "format_share": 1.0}', "[" * 100_000, "1" * 5_000,
    ):  # fmt: skip
        with pytest.raises(TableError, match=r"sft-s0.json.*`dvc repro sft`"):
            read(written(tmp_path, content))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": 1, "a": 2}', "has the key 'a' twice"),
        ('[{"b": {"c": 1, "d": 2, "c": 1}}]', "has the key 'c' twice"),
        ('{"a": NaN}', "has the number 'NaN'"),
        ('{"a": -Infinity}', "has the number '-Infinity'"),
        ('{"a": 1e999}', "has the number '1e999'"),
    ],
)
def test_json_says_one_thing_once(text, message):
    source = FileSource("JSON", "correct it")
    with pytest.raises(FileError, match=message):
        parse_json(text, Any, "a.json", source)
    assert parse_json('{"a": [{"b": 1}, {"b": 2}]}', Any, "a.json", source) == {"a": [{"b": 1}, {"b": 2}]}
