"""Parameters of the group `drift`: which clouds of tokens are sampled, and how the distances between them are taken."""

from __future__ import annotations

from typing import Literal, NamedTuple

from pydantic import Field, RootModel, model_validator

from stages.shared.checks import require_blocks, require_different, require_recipes
from stages.shared.params import Group, ParamsError, Seed, load
from stages.shared.study import RECIPES

# Residual space as it is; its directions (rows of unit norm); one PCA of all depths; its directions.
BASES = ("raw", "unit", "shared_pca", "shared_pca_unit")


class Drift(Group):
    """The group `drift` of params.yaml."""

    organisms: list[str]
    """Recipes, each compared in every family with that family's base; the models of the study come in addition."""
    runs: list[str]
    """Entries of data/registry/runs.yaml, which are sampled at their checkpoints."""
    prompts: int = Field(ge=16)
    """Number of prompts of each task, the first ones of the held-out split."""
    tokens_per_prompt: int = Field(ge=1)
    """Number of content tokens drawn of each prompt."""
    checkpoints: int = Field(ge=2)
    """Largest number of checkpoints of a run, spaced evenly in the logarithm of the step."""
    blocks: int
    """Number of blocks that the prompts fall into; half-samples are sums of blocks."""
    basis: Literal["raw", "unit", "shared_pca", "shared_pca_unit"]
    """The headline's basis; curves are given in the others too."""
    components: int = Field(ge=2)
    """Number of directions of the shared PCA, and of the prior study's PCA of each layer."""
    regularisation: float = Field(gt=0, le=100)
    """ε of entropic transport, as a share of the median cost."""
    projections: int = Field(ge=10)
    """Number of directions of the sliced distance."""
    gromov_rows: int | None = Field(ge=10)
    """Number of tokens of the Gromov-Wasserstein distance; null leaves it out."""
    noise: float = Field(gt=0, lt=1)
    """Size of the noise floor, as a share of the rows' root mean square norm."""
    draws: int = Field(ge=20)
    """Number of draws of noise behind the statistic that a transition must have."""
    confidence: float = Field(gt=0.5, lt=1)
    """Confidence of every interval, over prompts or over families."""
    seed: Seed
    """Seed of the sampled tokens, rotations, noise and directions."""

    @model_validator(mode="after")
    def _sound(self) -> Drift:
        require_recipes(self.organisms)
        if self.organisms and RECIPES[0] not in self.organisms:
            raise ValueError(f"organisms {self.organisms} need {RECIPES[0]!r}, with which the others are compared")
        for name in ("organisms", "runs"):
            require_different(name, getattr(self, name))
        require_blocks(self.blocks)
        if self.prompts % self.blocks:
            raise ValueError(f"prompts {self.prompts} must be a multiple of blocks {self.blocks}")
        return self


class DriftScope(NamedTuple):
    """The part of the group `study` that the drift study reads: with runs alone it needs neither seeds nor models."""

    seeds: list[int]
    models: dict[str, str]
    """Hub or local model: its reference."""
    tasks: list[str]
    """Generated tasks, then benchmarks."""


class _Seeds(RootModel[list[int]]):
    """The list `study.seeds`."""


class _Names(RootModel[list[str]]):
    """One of the lists `study.tasks` and `study.benchmarks`."""


class _Models(RootModel[dict[str, str]]):
    """The mapping `study.models`."""


def load_scope() -> DriftScope:
    """Return the seeds, models and tasks of params.yaml. Raises ParamsError where there is no task."""
    tasks = [task for key in ("tasks", "benchmarks") for task in load(f"study.{key}", _Names).root]
    if not tasks:
        raise ParamsError(
            "params.yaml: study.tasks and study.benchmarks are empty: name a task whose tokens are sampled"
        )
    return DriftScope(load("study.seeds", _Seeds).root, load("study.models", _Models).root, tasks)
