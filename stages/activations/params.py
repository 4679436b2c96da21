"""Parameters of the group `collect`: which activations are kept, and how they are computed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, TypeVar

from pydantic import AfterValidator, Field, RootModel, model_validator

from stages.shared.params import Group, load

Item = TypeVar("Item")


def _without_repeats(values: list[Item]) -> list[Item]:
    if len(set(values)) < len(values):
        raise ValueError("every value may stand only once")
    return values


# What may differ between a model and its reference.
Condition = Literal["precision", "prompt_format", "tokenizer"]
Aggregation = Literal["last_token", "mean", "all_tokens", "reasoning_middle", "reasoning_end"]
Choices = Annotated[list[Item], Field(min_length=1), AfterValidator(_without_repeats)]


class Quality(Group):
    """The bounds of the quality gate."""

    usable: float = Field(gt=0, le=1)
    """Smallest share of usable prompts with which the stage succeeds."""
    norm_low: float = Field(gt=0)
    """Smallest Euclidean norm of a usable activation vector."""
    norm_high: float = Field(gt=0)
    """Largest Euclidean norm of a usable activation vector."""

    @model_validator(mode="after")
    def _ordered(self) -> Quality:
        if self.norm_low >= self.norm_high:
            raise ValueError(f"norm_low ({self.norm_low}) must be below norm_high ({self.norm_high})")
        return self


class Collect(Group):
    """The parameters of collection: prompts, what is read of them, precision, storage and the quality gate."""

    prompts: int = Field(ge=2)
    """Number of prompts per task, the first of the held-out split."""
    aggregations: Choices[Aggregation]
    reasoning: Annotated[list[str], AfterValidator(_without_repeats)] = []
    """Keys of a task's rows that may hold the worked solution; the first key that the task has is taken."""
    sites: Choices[Literal["resid_pre", "resid_mid", "resid_post"]]
    tokens_per_batch: int = Field(ge=1)
    """Padded tokens of one forward pass."""
    precision: Literal["float32", "bfloat16", "int8", "nf4"]
    """Precision of weights and arithmetic; int8 and nf4 are quantised weights with bfloat16 arithmetic."""
    all_tokens_dtype: Literal["bfloat16", "float32"]
    """Storage of all_tokens; what has one row per prompt is stored as float32."""
    quality: Quality

    @model_validator(mode="after")
    def _has_reasoning(self) -> Collect:
        if (in_reasoning := reasoning_aggregations(self.aggregations)) and not self.reasoning:
            raise ValueError(
                f"{in_reasoning[0]} needs the keys of the worked solutions: set reasoning, e.g. to [long, solution]"
            )
        return self


class Unlike(RootModel[list[Condition]]):
    """The list `measure.unlike`: conditions in which a model may differ from its reference, as the comparison is about them."""


def load_unlike() -> list[str]:
    """Return `measure.unlike` of params.yaml."""
    return load("measure.unlike", Unlike).root


def reasoning_aggregations(aggregations: Sequence[str]) -> list[str]:
    """Return the aggregations that are read inside the worked solution."""
    return [aggregation for aggregation in aggregations if aggregation.startswith("reasoning_")]
