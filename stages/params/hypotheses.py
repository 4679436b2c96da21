"""Parameters of the group `hypotheses`: what is tested, and when a difference counts."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from stages.params.loading import Group


class Margins(Group):
    """Of a difference of adjusted indices, or of a relative difference of effective ranks."""

    strong: float = Field(gt=0)
    moderate: float = Field(gt=0)
    equivalent: float = Field(gt=0)

    @model_validator(mode="after")
    def _ordered(self) -> Margins:
        if not self.equivalent < self.moderate < self.strong:
            raise ValueError(
                f"expected equivalent < moderate < strong, found {self.equivalent}, {self.moderate}, {self.strong}"
            )
        return self


class Hypothesis(Group):
    """`more` has more of the quantity than `less`."""

    name: str = Field(pattern=r"^[a-z0-9_]+$")
    quantity: Literal["preservation_index", "effective_rank"]
    """Difference of adjusted indices, or of natural logarithms of effective ranks (about a relative difference)."""
    more: str
    less: str
    """Organisms, compared within every family; or two slugs of study.models."""
    effect: Literal["total", "at_matched_displacement", "at_matched_kl", "on_policy"]
    aggregation: Literal["last_token", "mean", "reasoning_middle", "reasoning_end"] = "last_token"
    """Where in the text: the last token of the prompt, its mean, or a point of the reasoning."""

    @model_validator(mode="after")
    def _two_sides(self) -> Hypothesis:
        if self.more == self.less:
            raise ValueError(f"{self.name}: more and less are both {self.more!r}")
        return self


class Hypotheses(Group):
    site: Literal["resid_pre", "resid_mid", "resid_post"]
    """The estimate is the average over all layers of this site and over all tasks."""
    margins: Margins
    alpha: float = Field(gt=0, lt=0.5)
    matched_within: float = Field(gt=0)
    families_for_paradigms: int = Field(ge=3)
    declared: list[Hypothesis]

    @model_validator(mode="after")
    def _names_unique(self) -> Hypotheses:
        names = [hypothesis.name for hypothesis in self.declared]
        if repeated := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"declared: the name {repeated[0]!r} stands more than once")
        return self
