"""Parameters of the group `perturb`: models moved as far as a sibling, in other directions."""

from __future__ import annotations

import difflib
from typing import Annotated

from pydantic import Field, field_validator, model_validator

from stages.params.loading import Group
from stages.params.study import RECIPES, Study

SIBLINGS = RECIPES[1:]


class Perturbed(Group):
    """A hub or local model whose update is taken apart."""

    reference: str
    """Slug of the model that it was trained from."""
    like: str
    """Slug of the model at whose displacement its own line has a point; its own slug for none."""


class Perturb(Group):
    organisms: list[str]
    """Of every family, each against its base."""
    like: str
    """Organism at whose displacement the lines of the others have a point."""
    models: dict[str, Perturbed]
    """Hub and local models by slug."""
    draws: int = Field(ge=1)
    """Of each random kind; the smallest p is 1 / (draws + 1)."""
    prompts: int = Field(ge=8)
    """Per task: the first so many of the held-out split."""
    half_samples: int = Field(ge=6)
    """At least so many behind each index; they come in sixes."""
    interpolation: list[Annotated[float, Field(ge=0, le=1)]]
    """Points on the line from the reference (0) to the model (1), which is always one."""
    seed: int

    @field_validator("organisms", "like")
    @classmethod
    def _known(cls, value: list[str] | str) -> list[str] | str:
        for name in [value] if isinstance(value, str) else value:
            if name not in SIBLINGS:
                raise ValueError(f"unknown sibling {name!r}: {_hint(name)}allowed: {', '.join(SIBLINGS)}")
        return value

    @model_validator(mode="after")
    def _sound(self) -> Perturb:
        if len(set(self.organisms)) < len(self.organisms):
            raise ValueError(f"organisms: every one may stand only once, found {self.organisms}")
        for slug, model in self.models.items():
            if slug == model.reference:
                raise ValueError(f"models.{slug}: it is its own reference, so it has no update: remove it")
        return self


def perturbed_models(perturb: Perturb, study: Study) -> list[str]:
    """Every model whose update is taken apart, organisms first."""
    return [f"{organism}-s{seed}" for seed in study.seeds for organism in perturb.organisms] + list(perturb.models)


def _hint(word: str) -> str:
    if word == RECIPES[0]:
        return "the base is the reference of all, it has no update; "
    close = difflib.get_close_matches(word, SIBLINGS, n=1)
    return f"did you mean {close[0]!r}? " if close else ""
