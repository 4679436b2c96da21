"""Parameters of the paradigm study: the groups `measure`, `hypotheses`, `probe`, `perturb` and `paths`, in this order."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from stages.activations.params import Condition
from stages.shared.cells import Cell, named_entry, organism_and_base, require_names
from stages.shared.checks import DecayRanks, Share
from stages.shared.params import Group, Seed, load
from stages.shared.registry import did_you_mean
from stages.shared.study import RECIPES, Study

SIBLINGS = RECIPES[1:]
Site = Literal["resid_pre", "resid_mid", "resid_post"]
# One row per prompt: prompts are what is resampled, so all_tokens cannot be measured this way.
Position = Literal["last_token", "mean", "reasoning_middle", "reasoning_end"]


class Nulls(Group):
    """Numbers of random draws behind each chance level."""

    subspaces: int = Field(ge=100)
    spectra: int = Field(ge=2)


class Topology(Group):
    """Clusters and loops of the cloud are measured so; they need the extra gudhi."""

    points: int = Field(ge=10, le=1000)
    """Prompts that are read, at most n / 2; the cost grows with their third power."""
    draws: int = Field(ge=2)
    """Gaussian clouds behind each chance level."""


class MeasureParams(Group):
    """The group `measure`: what is measured of a model's activations, and how surely."""

    aggregation: Position
    """The position in the text at which every measure is taken."""
    positions: list[Position]
    """Further positions, measured at interval_sites for what hypotheses may be about."""
    unlike: list[Condition]
    """Conditions in which a model may differ from its reference, because the comparison is about them."""
    ks: list[int] = Field(min_length=1)
    """Numbers of leading directions compared by preservation."""
    headline_k: int
    """The k of ks that metrics, hypotheses and figures report."""
    interval_sites: list[Site]
    """Sites whose centred measures get intervals over prompts."""
    half_samples: int = Field(ge=12)
    """Least number of halves behind each interval; they come in sixes, of which two serve preservation on the same prompts."""
    plain_half_samples: int = Field(ge=6)
    """Least number of halves behind baselines, ceilings and indices where no interval is asked for."""
    confidence: float = Field(gt=0.5, lt=1)
    decay_ranks: list[DecayRanks] = Field(min_length=1)
    """Ranges of ranks: an exponent that depends on its range is no power law."""
    bands: list[float] = Field(min_length=2)
    """Bounds of the bands of ranks, shares of the rank, ascending."""
    components_share: float = Field(gt=0, lt=1)
    """Share of the variance that the counted components carry."""
    legacy_k: int = Field(ge=1)
    """Directions of the prior study's preservation; at most n / 8 and d / 4 are used."""
    nulls: Nulls
    topology: Topology | None
    """How clusters and loops are measured at interval_sites, if they are."""
    seed: Seed
    """Seed of the half-samples and of the random draws."""

    @model_validator(mode="after")
    def _sound(self) -> MeasureParams:
        if min(self.ks) < 1 or len(set(self.ks)) < len(self.ks):
            raise ValueError(f"ks: expected different numbers from 1 upwards, found {self.ks}")
        if self.aggregation in self.positions or len(set(self.positions)) < len(self.positions):
            raise ValueError(f"positions {self.positions}: expected different ones, and not {self.aggregation!r} again")
        if self.headline_k not in self.ks:
            raise ValueError(f"headline_k {self.headline_k} must be one of ks {self.ks}")
        if self.bands != sorted(set(self.bands)) or self.bands[0] < 0 or self.bands[-1] > 1:
            raise ValueError(f"bands: expected ascending shares from 0 to 1, found {self.bands}")
        return self


class Margins(Group):
    """Sizes of a difference of adjusted indices, or of a relative difference of effective ranks."""

    strong: float = Field(gt=0, le=10)
    moderate: float = Field(gt=0, le=10)
    equivalent: float = Field(gt=0, le=10)

    @model_validator(mode="after")
    def _ordered(self) -> Margins:
        if not self.equivalent < self.moderate < self.strong:
            raise ValueError(
                f"expected equivalent < moderate < strong, found {self.equivalent}, {self.moderate}, {self.strong}"
            )
        return self


class Hypothesis(Group):
    """A claim that `more` has more of the quantity than `less`."""

    name: str = Field(pattern=r"^[a-z0-9_]+$")
    quantity: Literal["preservation_index", "effective_rank"]
    """Difference of adjusted indices, or of natural logarithms of effective ranks (about a relative difference)."""
    more: str
    less: str
    """Both sides are organisms, compared within every family, or two slugs of study.models."""
    effect: Literal["total", "at_matched_displacement", "at_matched_kl", "on_policy"]
    aggregation: Position = "last_token"
    """Position in the text: the last token of the prompt, its mean, or a point of the reasoning."""

    @model_validator(mode="after")
    def _two_sides(self) -> Hypothesis:
        if self.more == self.less:
            raise ValueError(f"{self.name}: more and less are both {self.more!r}")
        return self


class Hypotheses(Group):
    """The group `hypotheses`: the declared claims, and when each is decided."""

    site: Site
    """The estimate is the average over all layers of this site and over all tasks."""
    margins: Margins
    alpha: float = Field(gt=0, lt=0.5)
    matched_within: float = Field(gt=0, le=1)
    """Largest relative gap at which a control counts as matched."""
    families_for_paradigms: int = Field(ge=3)
    """Number of families from which on they are the sampled unit, and verdicts speak of paradigms."""
    declared: list[Hypothesis]

    @model_validator(mode="after")
    def _names_unique(self) -> Hypotheses:
        names = [hypothesis.name for hypothesis in self.declared]
        if repeated := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"declared: the name {repeated[0]!r} stands more than once")
        return self


class ProbeParams(Group):
    """The group `probe`: how the sensitivity of a model and the update of its weights are measured."""

    prompts: int = Field(ge=2)
    """Number of prompts of each task, the first ones of the held-out split."""
    draws: int = Field(ge=2)
    """Random directions for each prompt."""
    singular_prompts: int = Field(ge=2)
    """Number of the first prompts that also get the top singular value."""
    singular_tolerance: float = Field(gt=0, lt=1)
    """Relative residual of a squared singular value at which the iteration stops."""
    overlap_shares: list[Share] = Field(min_length=1)
    """Leading singular directions of the base weight, as shares of the smaller side of a matrix."""
    null_draws: int = Field(ge=1)
    """Isotropic updates of each shape."""
    confidence: float = Field(gt=0.5, lt=1)
    seed: Seed
    """Seed of directions and isotropic updates, the same for all models."""

    @model_validator(mode="after")
    def _sound(self) -> ProbeParams:
        if self.singular_prompts > self.prompts:
            raise ValueError(f"singular_prompts {self.singular_prompts} must be at most prompts {self.prompts}")
        if len(set(self.overlap_shares)) < len(self.overlap_shares):
            raise ValueError(f"overlap_shares: every value may stand only once, found {self.overlap_shares}")
        return self


class PerturbedModel(Group):
    """A hub or local model whose update is taken apart."""

    reference: str
    """Slug of the model that it was trained from."""
    like: str
    """Slug of the model at whose displacement its own line has a point; its own slug for none."""


class PerturbParams(Group):
    """The group `perturb`: which models are compared with others that moved as far in other directions."""

    organisms: list[str]
    """Organisms of every family, each against its base."""
    like: str
    """Organism at whose displacement the lines of the others have a point."""
    models: dict[str, PerturbedModel]
    """Hub and local models by slug."""
    draws: int = Field(ge=1)
    """Number of draws of each random kind; the smallest p is 1 / (draws + 1)."""
    prompts: int = Field(ge=8)
    """Number of prompts of each task, the first ones of the held-out split."""
    half_samples: int = Field(ge=6)
    """Least number of halves behind each index; they come in sixes."""
    interpolation: list[Annotated[float, Field(ge=0, le=1)]]
    """Points on the line from the reference (0) to the model (1), which is always one."""
    seed: Seed

    @field_validator("organisms", "like")
    @classmethod
    def _siblings(cls, value: list[str] | str) -> list[str] | str:
        for name in [value] if isinstance(value, str) else value:
            if name not in SIBLINGS:
                raise ValueError(f"unknown sibling {name!r}: {_hint(name)}allowed: {', '.join(SIBLINGS)}")
        return value

    @model_validator(mode="after")
    def _sound(self) -> PerturbParams:
        if len(set(self.organisms)) < len(self.organisms):
            raise ValueError(f"organisms: every one may stand only once, found {self.organisms}")
        for slug, model in self.models.items():
            if slug == model.reference:
                raise ValueError(f"models.{slug}: it is its own reference, so it has no update: remove it")
        return self


def perturbed_models(perturb: PerturbParams, study: Study) -> list[str]:
    """Return the names of all models whose update is taken apart, organisms first."""
    return [f"{organism}-s{seed}" for seed in study.seeds for organism in perturb.organisms] + list(perturb.models)


def model_reference_and_like(cell: Cell) -> list[str]:
    """Return the model of a cell of `perturb` or `perturb-model`, its reference, and the model of the like displacement."""
    params = load("perturb", PerturbParams)
    if not cell.stage.endswith("-model"):
        model, base = organism_and_base(cell)
        return [model, base, params.like + base.removeprefix(RECIPES[0])]
    entry = named_entry(cell, params.models)
    arguments = [cell.name, entry.reference, entry.like]
    require_names("perturb.models", arguments)
    return arguments


def _hint(word: str) -> str:
    if word == RECIPES[0]:
        return "the base is the reference of all, it has no update; "
    return did_you_mean(word, SIBLINGS)


class PathParams(Group):
    """The group `paths`: how token trajectories are compared."""

    organisms: list[str]
    """Names in study.organisms, each compared with the base of its family."""
    models: dict[str, str]
    """Slugs in study.models, each with its reference."""
    site: Site
    depths: list[Share] = Field(min_length=1)
    """Layers, as shares of their number: 1 is the last one."""
    prompts: int = Field(ge=8)
    """Number of prompts of each task, the first ones that were collected."""
    directions: int = Field(ge=2)
    """Leading directions of the reference's tokens onto which all paths are projected."""
    degree: int = Field(ge=2)
    """Levels of the truncated signature."""
    kernel_order: int = Field(ge=1)
    """Order of the polynomials that solve the kernel's equation."""
    half_samples: int = Field(ge=12)
    confidence: float = Field(gt=0.5, lt=1)
    seed: Seed
    """Seed of half-samples and shuffles."""

    @model_validator(mode="after")
    def _without_repeats(self) -> PathParams:
        for name in ("organisms", "depths"):
            values = getattr(self, name)
            if len(set(values)) < len(values):
                raise ValueError(f"{name}: every value may stand only once, found {values}")
        return self
