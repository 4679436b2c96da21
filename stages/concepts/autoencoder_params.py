"""Parameters of the group `autoencoders`: which sparse autoencoders are trained on which model's middle states, and how."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field, model_validator

from stages.shared.checks import require_different
from stages.shared.params import Group, Seed
from stages.shared.registry import SLUG


class AutoencoderVariant(Group):
    """One way of making an autoencoder; all are trained on the same tokens for as many steps.

    What tells variants apart has no default: one that lost its key would be compared as what its name says it is.
    """

    architecture: Literal["hierarchical", "flat"]
    """Architecture; a flat one has about as many parameters, and as many codes a token."""
    initial: Literal["random", "teacher", "shuffled"]
    """Start; teacher is concept directions of words that are not held out, shuffled of words dealt out to other kinds."""
    noise: list[float] = [0.0]
    """Noise that is added to the teacher's directions, in their lengths: a ladder, one autoencoder a step."""
    k: int = Field(ge=1)
    """Number of parents of a token."""
    orthogonality: Literal["euclidean", "causal"]
    """Inner product in which a child's departure is kept orthogonal to its parent."""
    trained: bool
    """Whether the language model is trained; the floor is one that is not."""
    sibling_seeds: int = Field(default=0, ge=0)
    """Number of seeds that are trained on every sibling of the model too, to match features across training."""

    @model_validator(mode="after")
    def _check(self) -> AutoencoderVariant:
        if self.architecture == "flat" and (self.initial != "random" or self.orthogonality != "euclidean"):
            raise ValueError(
                "a flat autoencoder has neither a teacher nor an orthogonality: expected initial random, orthogonality euclidean"
            )
        if self.initial == "random" and self.noise != [0.0]:
            raise ValueError(f"noise {self.noise} of a random initialisation: expected a teacher, or shuffled")
        if not self.noise or min(self.noise) < 0 or len(set(self.noise)) < len(self.noise):
            raise ValueError(f"noise {self.noise}: expected different values of 0 or more")
        return self


# Measured beside the variants: the random initialisation itself, and a linear probe.
BASELINES = ("directions", "probe")


class Pair(Group):
    """A pair of variants, or of a variant and ``directions``, that is compared over seeds."""

    more: str
    less: str


class LossTerms(Group):
    """Weights of the terms of the loss beside reconstruction."""

    top: float = Field(ge=0)
    sparsity: float = Field(ge=0)
    orthogonal: float = Field(ge=0)
    """Weight of the cosine between a parent and its children's departures, in the variant's inner product."""
    biorthogonal: float = Field(ge=0)


class Autoencoders(Group):
    """All parameters of the autoencoders."""

    model: str
    """Model whose middle states are encoded: an organism or a model of the study that is its own reference."""
    variants: dict[str, AutoencoderVariant]
    seeds: list[Seed] = Field(min_length=2)
    """Seeds of initialisations; comparisons are paired over them."""
    comparisons: dict[str, Pair]
    """Comparisons by name; ``teacher_start`` is that of the original study's targets."""
    parents: int = Field(ge=2)
    children: int = Field(ge=1)
    """Children of each parent."""
    subspace: int = Field(ge=1)
    """Dimensions of a parent's children."""
    steps: int = Field(ge=2)
    batch: int = Field(ge=2)
    """Tokens of a step."""
    buffer: int = Field(ge=2)
    """Tokens that are mixed before they are used."""
    frozen: float = Field(ge=0, lt=1)
    """Share of the steps in which a teacher's decoder stands still."""
    learning_rate: float = Field(gt=0, le=1)
    warmup: int = Field(ge=0)
    """Steps up to the full learning rate."""
    clip: float = Field(gt=0)
    """Largest norm of the gradient."""
    terms: LossTerms

    @model_validator(mode="after")
    def _check(self) -> Autoencoders:
        require_different("seeds", self.seeds)
        if self.warmup > self.steps:
            raise ValueError(f"warmup {self.warmup} of {self.steps} steps: expected no more than there are")
        for name, variant in self.variants.items():
            if not re.fullmatch(SLUG, name):
                raise ValueError(
                    f"variants.{name}: a name has letters, digits, - and _ only (it names stages and folders)"
                )
            if variant.sibling_seeds > len(self.seeds):
                raise ValueError(
                    f"variants.{name}: sibling_seeds {variant.sibling_seeds} of {len(self.seeds)} seeds: expected no more than there are"
                )
            if variant.k > self.parents:
                raise ValueError(
                    f"variants.{name}: k = {variant.k} of {self.parents} parents: expected no more than there are"
                )
        if repeated := sorted(set(self.variants) & set(BASELINES)):
            raise ValueError(f"variants.{repeated[0]}: the name stands for a baseline: choose another")
        sides = [*self.variants, BASELINES[0]]
        for name, pair in self.comparisons.items():
            for side in pair.more, pair.less:
                if side not in sides:
                    raise ValueError(f"comparisons.{name}: {side!r} is no variant: expected one of {', '.join(sides)}")
        if self.buffer < self.batch:
            raise ValueError(f"buffer {self.buffer}: expected at least one batch of {self.batch}")
        return self
