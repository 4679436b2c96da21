"""Errors of params.yaml name the file, the key, what was found and what is allowed."""

import pytest
from pydantic import Field

from stages.shared.params import Group, ParamsError, load


class Inner(Group):
    rate: float = Field(gt=0)


class Outer(Group):
    steps: int
    inner: Inner
    many: list[Inner] = []


@pytest.fixture
def params(tmp_path):
    def write(text):
        path = tmp_path / "params.yaml"
        path.write_text(text)
        return path

    return write


def test_a_sound_group_is_loaded_and_frozen(params):
    path = params("outer: {steps: 3, inner: {rate: 0.5}}\nother: 1\n")
    found = load("outer", Outer, path)
    assert found.inner.rate == 0.5
    assert load("outer.inner", Inner, path).rate == 0.5
    with pytest.raises(ValueError, match="frozen"):
        found.steps = 4


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "outer: {steps: 3, inner: {rate: 0.5}, stepz: 4}",
            "unknown key outer.stepz: did you mean 'steps'.*allowed here: inner, many, steps",
        ),
        ("outer: {steps: 3, inner: {rate: 0.5, rat: 1}}", "unknown key outer.inner.rat: did you mean 'rate'"),
        (
            "outer: {steps: 3, inner: {rate: 0.5}, many: [{rate: 1, x: 2}]}",
            "unknown key outer.many.0.x: allowed here: rate",
        ),
        ("outer: {steps: 3, inner: {rate: -1}}", r"outer.inner.rate: .*greater than 0 \(found -1\)"),
        ("outer: {inner: {rate: 1}}", "outer.steps: Field required"),
        ("outer: {steps: many, inner: {rate: 1}}", r"outer.steps: .*integer.* \(found 'many'\)"),
        ("other: 1", "no group 'outer' at the top level"),
        ("outer: [", "is not valid YAML"),
    ],
)
def test_mistakes_are_named(params, text, message):
    with pytest.raises(ParamsError, match=message):
        load("outer", Outer, params(text))


def test_a_missing_nested_group_names_its_parent(params):
    with pytest.raises(ParamsError, match="no group 'gone' at outer"):
        load("outer.gone", Inner, params("outer: {steps: 3}"))


def test_a_missing_file_says_where_to_run(tmp_path):
    with pytest.raises(ParamsError, match="run from the root of the repository"):
        load("outer", Outer, tmp_path / "params.yaml")
