"""The rules of the house hold: rooms and arrows, stages and nouns, names, sentences and sizes."""

from __future__ import annotations

from collections import Counter

import pytest

from stages.shared.code_identity import import_closure
from tests.support import house
from tests.support.project import ROOT

STAGES = ROOT / "stages"
MOST_EMPTY_NAMES = 3.0  # in 1000 lines
NOUNS = ("params.py", "tables.py", "metrics.py", "figures", "README.md")
PURE = ("geometry", "statistics")
FINDINGS = house.findings()


def test_the_rooms_are_those_of_the_plan():
    rooms = {path.name for path in STAGES.iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert rooms == {*house.LOWER_ROOMS, *house.STUDIES} and {"paradigms", "trace", "drift", "concepts"} <= set(
        house.STUDIES
    )
    assert {path.name for path in STAGES.glob("*.py")} == {"__init__.py", "code.py"}


def test_no_arrow_between_rooms_runs_upward_or_sideways():
    """So there is no circle of rooms, and no study imports another."""
    wrong = [
        arrow
        for (room, target), imports in house.arrows().items()
        for arrow in imports
        if house.FLOOR_OF[target] >= house.FLOOR_OF[room]
    ]
    assert not wrong


def test_code_of_one_study_lives_in_that_study_and_code_of_two_below():
    """Pure functions, reducers and the store of activations, and benchmarks serve whoever comes."""
    users = {}
    for path in house.code_files():
        file = path.relative_to(ROOT).as_posix()
        if house.is_stage(path):
            for used in import_closure(file):
                users.setdefault(used, set()).add(house.room_of(file))
    assert len(users) > 100
    for file, rooms in users.items():
        room = house.room_of(file)
        if room in house.STUDIES:
            assert rooms == {room}, file
        elif room in ("shared", "models") or (room == "tasks" and "benchmarks" not in file):
            assert len(rooms) > 1, f"{file} serves {rooms} alone"


@pytest.mark.parametrize("study", house.STUDIES)
def test_every_study_has_the_same_nouns(study):
    assert not [noun for noun in NOUNS if not (STAGES / study / noun).exists()]
    assert len((STAGES / study / "README.md").read_text(encoding="utf-8").splitlines()) <= 40


def test_verbs_are_stages_and_nouns_are_library():
    pipeline = (ROOT / "dvc.yaml").read_text(encoding="utf-8")
    for path in house.code_files():
        module = path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".")
        assert house.is_stage(path) == (f"python -m {module}" in pipeline), module


def test_stages_do_not_import_each_other():
    stages = {path.relative_to(ROOT).as_posix() for path in house.code_files() if house.is_stage(path)}
    for path in house.code_files():
        assert not stages & set(house.imported_files(path.relative_to(ROOT).as_posix())), path


def test_pure_rooms_read_no_files_params_or_torch():
    """One file may use torch, for the GPU, and only once it is asked to."""
    for path in house.code_files(*PURE):
        text = path.read_text(encoding="utf-8")
        for forbidden in ("stages.shared", "pathlib", "open(", "environ"):
            assert forbidden not in text, f"{path.name} uses {forbidden}"
        assert "import torch" not in text or path.name == "linear_algebra.py", f"{path.name} uses torch"


def test_the_init_files_of_rooms_are_empty():
    assert all(not path.read_text(encoding="utf-8") for path in STAGES.glob("*/**/__init__.py"))


def test_names_say_what_a_thing_is():
    lines = sum(len(path.read_text(encoding="utf-8").splitlines()) for path in house.code_files())
    empty = [finding for finding in FINDINGS if finding.rule == "empty name"]
    assert 1000 * len(empty) / lines <= MOST_EMPTY_NAMES, Counter(finding.text for finding in empty).most_common(20)


def test_the_count_of_empty_names_sees_them_everywhere():
    import ast

    code = "def own(of, rows): return [one.found for one in of if beside(at=rows)]\nfrom x import y as here\n"
    names = Counter(name for _, name in house.empty_names(ast.parse(code)))
    assert names == {"own": 1, "of": 2, "one": 2, "found": 1, "beside": 1, "at": 1, "here": 1}


def test_a_type_has_a_name_of_its_own():
    """Every task file has its own ``Params``, by the rule of what a task is."""
    assert not {name: files for name, files in house.repeated_types().items() if name != "Params"}


@pytest.mark.parametrize(
    "rule",
    ["fmt: skip", "long line", "long stage", "long function", "many parameters", "no docstring", "fragment",
     "constant explained below"],
)  # fmt: skip
def test_the_code_keeps_the_rules_of_sizes_and_sentences(rule):
    assert not [finding for finding in FINDINGS if finding.rule == rule]
