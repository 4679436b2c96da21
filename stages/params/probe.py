"""Parameters of the group `probe`: what is measured on the models themselves."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from stages.params.loading import Group


class Probe(Group):
    prompts: int = Field(ge=2)
    """Per task: the first so many of the held-out split."""
    draws: int = Field(ge=2)
    """Random directions to a prompt."""
    singular_prompts: int = Field(ge=2)
    """Of the prompts, the first so many also get the top singular value."""
    singular_tolerance: float = Field(gt=0, lt=1)
    """Relative residual of a squared singular value at which the iteration stops."""
    overlap_shares: list[Annotated[float, Field(gt=0, le=1)]] = Field(min_length=1)
    """Leading singular directions of the base weight, as shares of the smaller side of a matrix."""
    null_draws: int = Field(ge=1)
    """Isotropic updates of each shape."""
    confidence: float = Field(gt=0.5, lt=1)
    seed: int = Field(ge=0)
    """Of directions and isotropic updates: the same for all models."""

    @model_validator(mode="after")
    def _sound(self) -> Probe:
        if self.singular_prompts > self.prompts:
            raise ValueError(f"singular_prompts {self.singular_prompts} must be at most prompts {self.prompts}")
        if len(set(self.overlap_shares)) < len(self.overlap_shares):
            raise ValueError(f"overlap_shares: every value may stand only once, found {self.overlap_shares}")
        return self
