"""Parameters of the group `benchmarks`: published benchmarks that serve as tasks."""

from __future__ import annotations

import difflib
import re
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, RootModel, model_validator

from stages.shared.params import PARAMS_FILE, Group, ParamsError, load

SLUG = r"[A-Za-z0-9][A-Za-z0-9_-]*"
SHA256 = Field(default=None, pattern=r"^[0-9a-f]{64}$")


class Shots(Group):
    """Worked examples in front of every prompt."""

    count: int = Field(ge=0)
    """Examples to a prompt; 0 for none."""
    split: str
    """Where they come from: never the evaluated split."""
    file: str | None = None
    """Local file in place of the hub."""
    sha256: str | None = SHA256
    """Of the file, checked if given."""
    seed: int
    completion: str
    """Template of what follows the prompt in an example."""


class Benchmark(Group):
    """One entry: where its rows are, how they are read, and what becomes of them."""

    layout: Literal["gsm8k", "humaneval", "logiqa", "mmlu", "triviaqa"]
    """File of stages/benchmarks that says how an upstream row is read."""
    hub: str | None = None
    """Hub id of a data set, organisation/name."""
    config: str | None = None
    """Configuration of the data set."""
    revision: str | None = None
    """Commit SHA, or branch verbatim."""
    file: str | None = None
    """Local file in place of the hub."""
    sha256: str | None = SHA256
    """Of the file, checked if given."""
    split: str
    """Upstream split; it is part of the ids."""
    items: int = Field(gt=0)
    """Rows that the split must have, before anything is left out."""
    leave_out: list[int] = []
    """Positions of upstream rows that are known to be damaged."""
    subjects: list[str] | None = None
    """Subjects to keep, taken in turn; null keeps all."""
    prompts: int | None = Field(default=None, gt=0)
    """Prompts to take, the first of a seeded permutation; null takes all."""
    seed: int
    template: str
    """Prompt with {fields} of the item; write {{ and }} for braces."""
    shots: Shots | None = None

    @model_validator(mode="after")
    def _sound(self) -> Benchmark:
        if (self.hub is None) != (self.revision is None):
            raise ValueError("expected hub and revision together (a commit SHA, or a branch)")
        if self.hub is None and self.file is None:
            raise ValueError("expected hub and revision, or file")
        if outside := [position for position in self.leave_out if not 0 <= position < self.items]:
            raise ValueError(f"leave_out has {outside[0]}: expected positions from 0 to {self.items - 1}")
        if self.shots is not None and self.shots.count:
            _require_other_source(self)
        return self


def _require_other_source(benchmark: Benchmark) -> None:
    """Examples exist and are not evaluated items."""
    shots = benchmark.shots
    if shots.split == benchmark.split:
        raise ValueError(
            f"shots.split is {shots.split!r}, the evaluated split: examples from it would give answers away; name another"
        )
    if shots.file is None and benchmark.hub is None:
        raise ValueError("shots need hub and revision, or a file of their own: set shots.file")
    if shots.file is not None and benchmark.file is not None and Path(shots.file) == Path(benchmark.file):
        raise ValueError(f"shots.file is {shots.file!r}, the evaluated file: name another")


class Registry(RootModel[dict[str, Any]]):
    """All entries, by name; an entry is validated when it is used."""


def load_benchmark(name: str, path: Path = PARAMS_FILE) -> Benchmark:
    """The entry ``name`` of the group; raises ParamsError naming the key and the fix."""
    names = list(load("benchmarks", Registry, path).root)
    if name not in names:
        close = difflib.get_close_matches(name, names, n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise ParamsError(f"{path}: no benchmark {name!r} in benchmarks: {hint}there are: {', '.join(names) or 'none'}")
    if not re.fullmatch(SLUG, name):
        raise ParamsError(
            f"{path}: benchmarks.{name}: a name has letters, digits, - and _ only (it names stages and files)"
        )
    return load(f"benchmarks.{name}", Benchmark, path)
