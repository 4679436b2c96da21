"""Rules that several groups of parameters share; each raises ValueError naming the value and what was expected."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field, model_validator

from stages.shared.params import Group
from stages.shared.study import RECIPES


def require_recipes(organisms: Sequence[str]) -> None:
    """Raise ValueError unless every one of ``organisms`` is a recipe."""
    for organism in organisms:
        if organism not in RECIPES:
            raise ValueError(f"unknown organism {organism!r}: allowed: {', '.join(RECIPES)}")


def require_different(name: str, values: Sequence[object]) -> None:
    """Raise ValueError where one of ``values``, those of the parameter ``name``, stands twice."""
    if len(set(values)) < len(values):
        raise ValueError(f"{name} {values}: every one may stand only once")


def require_blocks(blocks: int) -> None:
    """Raise ValueError unless balanced half-samples can be made of so many ``blocks``, see `statistics.deviations`."""
    if blocks < 8 or blocks & (blocks - 1):
        raise ValueError(f"blocks {blocks}: expected a power of two from 8 on (balanced half-samples)")


Share = Annotated[float, Field(gt=0, le=1)]


class DecayRanks(Group):
    """Fitted ranks of the spectral decay, as shares of min(n, d)."""

    first: float = Field(gt=0, lt=1)
    last: float = Field(gt=0, le=1)

    @model_validator(mode="after")
    def _ordered(self) -> DecayRanks:
        if self.first >= self.last:
            raise ValueError(f"first ({self.first}) must be below last ({self.last})")
        return self
