"""The registry of published benchmarks, ``data/registry/benchmarks.yaml``; a benchmark serves as a task."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from stages.shared.params import Group, Seed, load
from stages.shared.registry import read_entries_with

BENCHMARK_REGISTRY = Path("data/registry/benchmarks.yaml")
SHA256 = Field(default=None, pattern=r"^[0-9a-f]{64}$")


class Shots(Group):
    """Worked examples in front of every prompt."""

    count: int = Field(ge=0)
    """Number of examples in front of a prompt; 0 for none."""
    split: str
    """Upstream split of the examples: never the evaluated one."""
    file: str | None = None
    """Local file in place of the hub."""
    sha256: str | None = SHA256
    """Hash of the local file, checked if given."""
    seed: Seed
    completion: str
    """Template of what follows the prompt in an example."""


class Benchmark(Group):
    """One entry: where its rows are, how they are read, and what becomes of them."""

    layout: Literal["gsm8k", "humaneval", "logiqa", "mmlu", "triviaqa"]
    """Module of stages/tasks/benchmarks that says how an upstream row is read."""
    hub: str | None = None
    """Hub id of a data set, organisation/name."""
    config: str | None = None
    """Configuration of the data set."""
    revision: str | None = None
    """Commit SHA, or branch verbatim."""
    file: str | None = None
    """Local file in place of the hub."""
    sha256: str | None = SHA256
    """Hash of the local file, checked if given."""
    split: str
    """Upstream split; it is part of the ids."""
    items: int = Field(gt=0)
    """Number of rows that the split must have, before anything is left out."""
    leave_out: list[int] = []
    """Positions of upstream rows that are known to be damaged."""
    subjects: list[str] | None = None
    """Subjects to keep, taken in turn; null keeps all."""
    prompts: int | None = Field(default=None, gt=0)
    """Number of prompts, the first of a seeded permutation; null takes all."""
    seed: Seed
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
            _require_separate_shots(self)
        return self


def _require_separate_shots(benchmark: Benchmark) -> None:
    """Raise ValueError unless examples exist and are not evaluated items."""
    shots = benchmark.shots
    if shots.split == benchmark.split:
        raise ValueError(
            f"shots.split is {shots.split!r}, the evaluated split: examples from it would give answers away; name another"
        )
    if shots.file is None and benchmark.hub is None:
        raise ValueError("shots need hub and revision, or a file of their own: set shots.file")
    if shots.file is not None and benchmark.file is not None and Path(shots.file) == Path(benchmark.file):
        raise ValueError(f"shots.file is {shots.file!r}, the evaluated file: name another")


def load_benchmark(name: str, path: Path = BENCHMARK_REGISTRY) -> Benchmark:
    """Return the entry ``name`` of the registry. Raises ParamsError naming the file, the key and the fix."""
    read_entries_with(name, "benchmark", path)
    return load(name, Benchmark, path)
