"""Parameters of the group `measure`: variants, resampling and nulls of the measures."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from stages.params.loading import Group


class DecayRanks(Group):
    """Fitted ranks of the spectral decay, as shares of min(n, d)."""

    first: float = Field(gt=0, lt=1)
    last: float = Field(gt=0, le=1)

    @model_validator(mode="after")
    def _ordered(self) -> DecayRanks:
        if self.first >= self.last:
            raise ValueError(f"first ({self.first}) must be below last ({self.last})")
        return self


class Nulls(Group):
    """Random draws behind each chance level."""

    subspaces: int = Field(ge=100)
    spectra: int = Field(ge=2)


class Topology(Group):
    """Clusters and loops of the cloud, with the extra gudhi."""

    points: int = Field(ge=10, le=1000)
    """Prompts read, at most n / 2; the cost grows with their third power."""
    draws: int = Field(ge=2)
    """Gaussian clouds behind each chance level."""


class Measure(Group):
    aggregation: Literal["last_token", "mean", "reasoning_middle", "reasoning_end"]
    """One row per prompt: prompts are what is resampled, so all_tokens cannot be measured this way."""
    positions: list[Literal["last_token", "mean", "reasoning_middle", "reasoning_end"]]
    """Further ones, measured at interval_sites for what hypotheses may be about."""
    unlike: list[Literal["precision", "prompt_format"]]
    """Conditions in which a model may differ from its reference, because the comparison is about them."""
    ks: list[int] = Field(min_length=1)
    """Leading directions compared by preservation."""
    headline_k: int
    interval_sites: list[Literal["resid_pre", "resid_mid", "resid_post"]]
    """Sites whose centred measures get intervals over prompts."""
    half_samples: int = Field(ge=12)
    """At least so many behind each interval; they come in sixes, of which two serve preservation on the same prompts."""
    plain_half_samples: int = Field(ge=6)
    """Behind baselines, ceilings and indices where no interval is asked for."""
    confidence: float = Field(gt=0.5, lt=1)
    decay_ranks: list[DecayRanks] = Field(min_length=1)
    """Ranges of ranks: an exponent that depends on its range is no power law."""
    bands: list[float] = Field(min_length=2)
    """Bounds of the bands of ranks, shares of the rank, ascending."""
    components_share: float = Field(gt=0, lt=1)
    """Of the variance, that the counted components carry."""
    legacy_k: int = Field(ge=1)
    """Directions of the prior study's preservation; at most n / 8 and d / 4 are used."""
    nulls: Nulls
    topology: Topology | None
    """At interval_sites, where it is given."""
    seed: int
    """Of the half-samples and of the random draws."""

    @model_validator(mode="after")
    def _sound(self) -> Measure:
        if min(self.ks) < 1 or len(set(self.ks)) < len(self.ks):
            raise ValueError(f"ks: expected different numbers from 1 upwards, found {self.ks}")
        if self.aggregation in self.positions or len(set(self.positions)) < len(self.positions):
            raise ValueError(f"positions {self.positions}: expected different ones, and not {self.aggregation!r} again")
        if self.headline_k not in self.ks:
            raise ValueError(f"headline_k {self.headline_k} must be one of ks {self.ks}")
        if self.bands != sorted(set(self.bands)) or self.bands[0] < 0 or self.bands[-1] > 1:
            raise ValueError(f"bands: expected ascending shares from 0 to 1, found {self.bands}")
        return self
