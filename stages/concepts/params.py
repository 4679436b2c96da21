"""Parameters of the group `concepts`: which words in which hierarchy, read where, and when a geometry counts as found."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, RootModel, model_validator

from stages.shared.checks import require_different, require_recipes
from stages.shared.params import Group, load
from stages.shared.study import RECIPES

WORD = "{word}"


class Ontology(Group):
    """Where the hierarchy comes from."""

    source: Literal["organisms", "file", "wordnet"]
    """The world that organisms are trained on; a WN-LMF file; a lexicon of `wn`."""
    file: str
    lexicon: str
    """Of the source wordnet, with its version."""
    parts: list[Literal["n", "v"]] = Field(min_length=1)
    """Of speech."""
    least_words: int = Field(ge=6)
    """A kind needs so many: half of them make its vector, the other half tests it."""
    most_kinds: int = Field(ge=2)
    """Of a wordnet, those with the most words."""
    multi_token: Literal["error", "leave_out"]
    """A word that is no single token of the model's tokenizer."""
    held_out: float = Field(gt=0, lt=1)
    """Share of each kind's words that no teacher, probe or steering vector is made of."""


class Gate(Group):
    """When a kind counts as represented in the unembedding."""

    splits: int = Field(ge=2)
    """Of each kind's words in halves."""
    draws: int = Field(ge=20)
    """Of shuffled labels."""
    members_within: float = Field(gt=0)
    """Mean projection ratio of held-out members may lie so far from 1."""
    others_within: float = Field(gt=0)
    """That of words of other kinds so far from 0."""


class Interventions(Group):
    """Concept vectors added to the middle of the model."""

    contexts: int = Field(ge=8)
    """Held-out places in the text where a word of the ontology comes next."""
    strengths: list[float] = Field(min_length=1)
    """Lengths of what is added, in root mean square norms of the states there."""


class Concepts(Group):
    organisms: list[str]
    """Of every family, each against its base."""
    models: dict[str, str]
    """Of `study.models`: its reference among them."""
    ontology: Ontology
    templates: list[str] = Field(min_length=3)
    """Beginnings of sentences that end in {word}, the same for all concepts."""
    held_out_templates: int = Field(ge=1)
    """The last so many are for testing only."""
    sequences: int = Field(ge=16)
    """Of the text, for covariances and Fisher information."""
    length: int = Field(ge=8)
    """Tokens of a sequence."""
    depth: float = Field(gt=0, le=1)
    """Of the layer where states are read and changed, a share of the layers."""
    shrinkage: Literal["ledoit_wolf"] | float
    """Of the unembedding's covariance; a number is a ridge as a share of the mean variance."""
    gate: Gate
    interventions: Interventions
    confidence: float = Field(gt=0.5, lt=1)
    seed: int
    """Of held-out words, splits, shuffles and random directions."""

    @model_validator(mode="after")
    def _sound(self) -> Concepts:
        require_recipes(self.organisms)
        require_different("organisms", self.organisms)
        require_different("templates", self.templates)
        if self.organisms and RECIPES[0] not in self.organisms:
            raise ValueError(f"organisms {self.organisms} need {RECIPES[0]!r}, with which the others are compared")
        for name, reference in self.models.items():
            if self.models.get(reference) != reference:
                raise ValueError(
                    f"models.{name}: its reference {reference!r} must stand among models, as its own reference"
                )
        for template in self.templates:
            if template.count(WORD) != 1 or not template.endswith(" " + WORD) or not template[: -len(WORD)].strip():
                raise ValueError(
                    f"template {template!r}: expected words before one {WORD}, a space, and nothing after it"
                )
        if self.held_out_templates > len(self.templates) - 2:
            raise ValueError(
                f"held_out_templates {self.held_out_templates} of {len(self.templates)} templates: expected two or more left to learn from"
            )
        return self

    def layer(self, layers: int) -> int:
        """The block after which states are read, of ``layers``."""
        return max(0, round(self.depth * layers) - 1)


class _Seeds(RootModel[list[int]]):
    """`study.seeds`."""


class _Text(RootModel[str]):
    """`trace.text`."""


def load_seeds() -> list[int]:
    """Of the families of organisms."""
    return load("study.seeds", _Seeds).root


def load_text() -> str:
    """Name of the text, one of `texts`: for covariances, contexts and the tokens of autoencoders."""
    return load("trace.text", _Text).root
