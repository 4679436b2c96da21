"""Parameters of the group `paths`: whose token trajectories are compared, where, and how finely."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from stages.params.loading import Group


class Paths(Group):
    organisms: list[str]
    """Of study.organisms, each against the base of its family."""
    models: dict[str, str]
    """Of study.models: its reference."""
    site: Literal["resid_pre", "resid_mid", "resid_post"]
    depths: list[Annotated[float, Field(gt=0, le=1)]] = Field(min_length=1)
    """Layers, as shares of their number: 1 is the last one."""
    prompts: int = Field(ge=8)
    """Per task: the first so many."""
    directions: int = Field(ge=2)
    """Of the reference's tokens, onto which all paths are projected."""
    degree: int = Field(ge=2)
    """Levels of the truncated signature."""
    kernel_order: int = Field(ge=1)
    """Of the polynomials that solve the kernel's equation."""
    half_samples: int = Field(ge=12)
    confidence: float = Field(gt=0.5, lt=1)
    seed: int
    """Of half-samples and shuffles."""

    @model_validator(mode="after")
    def _without_repeats(self) -> Paths:
        for name in ("organisms", "depths"):
            values = getattr(self, name)
            if len(set(values)) < len(values):
                raise ValueError(f"{name}: every value may stand only once, found {values}")
        return self
