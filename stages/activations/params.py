"""Parameters of the group `collect`: which activations are kept, and how they are computed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, TypeVar

from pydantic import AfterValidator, Field, model_validator

from stages.shared.params import Group

Item = TypeVar("Item")


def _without_repeats(values: list[Item]) -> list[Item]:
    if len(set(values)) < len(values):
        raise ValueError("every value may stand only once")
    return values


Aggregation = Literal["last_token", "mean", "all_tokens", "reasoning_middle", "reasoning_end"]
Choices = Annotated[list[Item], Field(min_length=1), AfterValidator(_without_repeats)]


class Quality(Group):
    """Bounds of the quality gate."""

    usable: float = Field(gt=0, le=1)
    """Smallest share of usable prompts with which the stage succeeds."""
    norm_low: float = Field(gt=0)
    """Smallest Euclidean norm of a usable activation vector."""
    norm_high: float
    """Largest one."""

    @model_validator(mode="after")
    def _ordered(self) -> Quality:
        if self.norm_low >= self.norm_high:
            raise ValueError(f"norm_low ({self.norm_low}) must be below norm_high ({self.norm_high})")
        return self


class Collect(Group):
    prompts: int = Field(ge=2)
    """Per task: the first so many of the held-out split."""
    aggregations: Choices[Aggregation]
    reasoning: Annotated[list[str], AfterValidator(_without_repeats)] = []
    """Keys of a task's rows that may hold the worked solution, the first that the task has."""
    sites: Choices[Literal["resid_pre", "resid_mid", "resid_post"]]
    tokens_per_batch: int = Field(ge=1)
    """Padded tokens of one forward pass."""
    precision: Literal["float32", "bfloat16", "int8", "nf4"]
    """Of weights and arithmetic; int8 and nf4 are quantised weights with bfloat16 arithmetic."""
    all_tokens_dtype: Literal["bfloat16", "float32"]
    """Storage of all_tokens; what has one row per prompt is stored as float32."""
    quality: Quality

    @model_validator(mode="after")
    def _has_reasoning(self) -> Collect:
        if (asked := of_reasoning(self.aggregations)) and not self.reasoning:
            raise ValueError(
                f"{asked[0]} needs the keys of the worked solutions: set reasoning, e.g. to [long, solution]"
            )
        return self


def of_reasoning(aggregations: Sequence[str]) -> list[str]:
    """Those that are read inside the worked solution."""
    return [aggregation for aggregation in aggregations if aggregation.startswith("reasoning_")]
