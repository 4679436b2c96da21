"""Parameters of the group `trace`: which training runs are followed, on which text, and what is measured of a checkpoint."""

from __future__ import annotations

from pydantic import Field, RootModel, model_validator

from stages.params.checks import require_blocks, require_different, require_recipes
from stages.params.loading import Group, load
from stages.params.measure import DecayRanks
from stages.params.study import RECIPES


class Accuracy(Group):
    """Verified answers of each checkpoint to the study's generated tasks."""

    prompts: int = Field(ge=10)
    """Per task: the first so many of the held-out split."""
    new_tokens: int = Field(ge=4)
    """Longest completion."""


class Trace(Group):
    organisms: list[str]
    """Of every family."""
    runs: list[str]
    """Of data/registry/runs.yaml."""
    text: str
    """One of `texts`: the same tokens for all checkpoints."""
    sequences: int = Field(ge=16)
    length: int = Field(ge=8)
    """Tokens of a sequence."""
    blocks: int
    """Of sequences; half-samples are sums of blocks."""
    checkpoints: int = Field(ge=2)
    """Of a run at most, spaced evenly in the logarithm of the step."""
    tokens_per_batch: int = Field(ge=1)
    interval_depths: list[float] = Field(min_length=1)
    """Layers with intervals, as shares of their number; the final norm always has them."""
    decay_ranks: DecayRanks
    bands: list[float] = Field(min_length=2)
    """Bounds of the bands of ranks, shares of the rank, ascending."""
    accuracy: Accuracy | None
    confidence: float = Field(gt=0.5, lt=1)
    seed: int
    """Of the sampled answers."""

    @model_validator(mode="after")
    def _sound(self) -> Trace:
        require_recipes(self.organisms)
        for name in ("organisms", "runs"):
            require_different(name, getattr(self, name))
        require_blocks(self.blocks)
        if self.sequences % self.blocks:
            raise ValueError(f"sequences {self.sequences} must be a multiple of blocks {self.blocks}")
        if self.bands != sorted(set(self.bands)) or self.bands[0] < 0 or self.bands[-1] > 1:
            raise ValueError(f"bands: expected ascending shares from 0 to 1, found {self.bands}")
        if not all(0 < depth <= 1 for depth in self.interval_depths):
            raise ValueError(f"interval_depths: expected shares above 0 and up to 1, found {self.interval_depths}")
        return self


class Seeds(RootModel[list[int]]):
    """`study.seeds`: a study of traced runs alone may have none."""


class Tasks(RootModel[list[str]]):
    """`study.tasks`."""


class _Parent(RootModel[str]):
    """`organisms.RECIPE.parent`."""


def recipe_parents(recipes: list[str]) -> dict[str, str | None]:
    """The recipe from whose end each of ``recipes`` starts; None for the base."""
    return {
        recipe: None if recipe == RECIPES[0] else load(f"organisms.{recipe}.parent", _Parent).root for recipe in recipes
    }
