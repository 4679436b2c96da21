"""The cells of a stage that dvc.yaml multiplies by names of params.yaml.

No name reaches a shell: the commands of dvc.yaml have no arguments. DVC puts the name of the cell, `collect@sft-0`,
into the environment variable DVC_STAGE, and the functions here make a stage's arguments of it, or refuse it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

from pydantic import RootModel

from stages.shared.params import PARAMS_FILE, ParamsError, load
from stages.shared.registry import SLUG, listed
from stages.shared.study import RECIPES

VARIABLE = "DVC_STAGE"
Arguments = Callable[["Cell"], list[str]]


class Cell(NamedTuple):
    """A stage of dvc.yaml and the name of one of its cells; empty for a stage that has none."""

    stage: str
    name: str


class _References(RootModel[dict[str, str]]):
    """A mapping of models to their references."""


def parse_cell(variable: str) -> Cell:
    """Return the cell that DVC_STAGE names, with or without the path of dvc.yaml in front."""
    stage, _, name = variable.rpartition("dvc.yaml:")[2].partition("@")
    return Cell(stage, name)


def require_names(key: str, value: object) -> None:
    """Raise ParamsError unless every name at ``key`` of params.yaml can name stages, files and folders.

    ``value`` is a name, a list of names, or a mapping with names as keys, and names or groups of them as values.
    """
    if isinstance(value, Mapping):
        for name, entry in value.items():
            require_names(key, name)
            require_names(f"{key}.{name}", entry)
    elif isinstance(value, list):
        for item in value:
            require_names(key, item)
    elif not re.fullmatch(SLUG, str(value)):
        raise ParamsError(
            f"{PARAMS_FILE}: {key}: {value!r} is no name: expected letters, digits, - and _ only (it names stages and folders)"
        )


def name_of(cell: Cell) -> list[str]:
    """Return the name of ``cell``: of a task, a benchmark, a model, a run or a corpus."""
    require_names(cell.stage, cell.name)
    return [cell.name]


def recipe_of_cell(cell: Cell) -> list[str]:
    """Return the organism and the seed of a training stage such as `sft@0`; the base has its seed alone."""
    seed = _seed(cell, cell.name)
    return [seed] if cell.stage == RECIPES[0] else [cell.stage, seed]


def run_of(cell: Cell) -> list[str]:
    """Return the organism model of a cell such as `trace-follow@sft-0`, or the name of a cell with an ending (`-run`)."""
    return name_of(cell) if cell.stage.endswith(("-run", "-corpus")) else organism_and_base(cell)[:1]


def organism_and_base(cell: Cell) -> list[str]:
    """Return the organism model of a cell such as `collect@sft-0`, and the base of its family: sft-s0, base-s0."""
    organism, _, number = cell.name.rpartition("-")
    seed = _seed(cell, number)
    if organism not in RECIPES:
        raise ParamsError(f"{cell.stage}: unknown organism {organism!r}: allowed: {', '.join(RECIPES)}")
    return [f"{organism}-s{seed}", f"{RECIPES[0]}-s{seed}"]


def model_and_reference(references: str) -> Arguments:
    """Return the function from a cell to its model and the reference of it.

    ``references`` is the key of params.yaml that maps the models of `-model` stages to theirs.
    """

    def arguments(cell: Cell) -> list[str]:
        if cell.stage.endswith("-run"):
            return name_of(cell)
        if not cell.stage.endswith("-model"):
            return organism_and_base(cell)
        models = load(references, _References).root
        require_names(references, models)
        return [cell.name, named_entry(cell, models)]

    return arguments


def named_by(key: str) -> Arguments:
    """Return the function that gives a stage without cells the name at ``key`` of params.yaml."""

    def arguments(_: Cell) -> list[str]:
        name = load(key, RootModel[str]).root
        require_names(key, name)
        return [name]

    return arguments


def named_entry(cell: Cell, entries: Mapping[str, object]):
    """Return the entry of ``cell``; raise ParamsError where there is none."""
    if cell.name not in entries:
        raise ParamsError(f"{cell.stage}: no {cell.name!r} in {PARAMS_FILE}: there are: {listed(entries)}")
    return entries[cell.name]


def _seed(cell: Cell, number: str) -> str:
    if not re.fullmatch(r"\d+", number, re.ASCII):
        raise ParamsError(f"{cell.stage}: {cell.name!r}: expected a seed from study.seeds, a whole number from 0 on")
    return number
