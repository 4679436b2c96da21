"""Parameters of the group `concepts`: which words in which hierarchy, read where, and when a geometry counts as found.

The group `autoencoders` has a module of its own, so that its edits do not make every model be extracted again.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, RootModel, model_validator

from stages.shared.checks import require_different, require_recipes
from stages.shared.params import Group, Seed, load
from stages.shared.study import RECIPES

WORD = "{word}"


class Ontology(Group):
    """The source of the hierarchy, and the rules for its words."""

    source: Literal["organisms", "file", "wordnet"]
    """The world that organisms are trained on; a WN-LMF file; a lexicon of `wn`."""
    file: str
    """Path of the WN-LMF file, for the source file."""
    lexicon: str
    """Name of the lexicon with its version, for the source wordnet."""
    parts: list[Literal["n", "v"]] = Field(min_length=1)
    """Parts of speech, for file and wordnet: n, v."""
    least_words: int = Field(ge=6)
    """Least number of words of a kind: half of them make its vector, the other half tests it."""
    most_kinds: int = Field(ge=2)
    """Most kinds of a wordnet: those with the most words are taken."""
    multi_token: Literal["error", "leave_out"]
    """What becomes of a word that is no single token of the model's tokenizer."""
    held_out: float = Field(gt=0, lt=1)
    """Share of each kind's words that no teacher, probe or steering vector is made of."""


class Gate(Group):
    """The rule by which a kind counts as represented in the unembedding."""

    splits: int = Field(ge=2)
    """Number of random splits of each kind's words into halves."""
    draws: int = Field(ge=20)
    """Number of shufflings of the labels."""
    members_within: float = Field(gt=0, le=1)
    """Largest distance from 1 of the mean projection ratio of held-out members."""
    others_within: float = Field(gt=0, le=1)
    """Largest distance from 0 of that of words of other kinds."""


class Interventions(Group):
    """The interventions: concept vectors added to the middle of the model."""

    contexts: int = Field(ge=8)
    """Held-out places in the text where a word of the ontology comes next."""
    strengths: list[Annotated[float, Field(gt=0, le=1000)]] = Field(min_length=1)
    """Lengths of what is added, in root mean square norms of the states there."""

    @model_validator(mode="after")
    def _different(self) -> Interventions:
        require_different("strengths", self.strengths)
        return self


class Concepts(Group):
    """All parameters of the study but those of its autoencoders."""

    organisms: list[str]
    """Organisms of every family, each compared with its base."""
    models: dict[str, str]
    """Models of `study.models`, each with its reference, which is among them."""
    ontology: Ontology
    templates: list[str] = Field(min_length=3)
    """Beginnings of sentences that end in {word}, the same for all concepts."""
    held_out_templates: int = Field(ge=1)
    """Number of templates, the last, that are for testing only."""
    sequences: int = Field(ge=16)
    """Number of sequences of the text, for covariances and Fisher information."""
    length: int = Field(ge=8)
    """Tokens of a sequence."""
    depth: float = Field(gt=0, le=1)
    """Depth of the layer where states are read and changed, as a share of the layers."""
    shrinkage: Literal["ledoit_wolf"] | Annotated[float, Field(gt=0, le=1000)]
    """Shrinkage of the unembedding's covariance; a number is a ridge as a share of the mean variance."""
    gate: Gate
    interventions: Interventions
    confidence: float = Field(gt=0.5, lt=1)
    """Level of intervals, and the quantile of shuffled labels that a kind must exceed."""
    seed: Seed
    """Seed of held-out words, splits, shuffles and random directions."""

    @model_validator(mode="after")
    def _check(self) -> Concepts:
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
        """Return the block after which states are read, of ``layers``."""
        return max(0, round(self.depth * layers) - 1)


class _Seeds(RootModel[list[int]]):
    """The group `study.seeds`."""


class _Text(RootModel[str]):
    """The group `trace.text`."""


def load_seeds() -> list[int]:
    """Return the seeds of the families of organisms."""
    return load("study.seeds", _Seeds).root


def load_text() -> str:
    """Return the name of the text from which covariances, contexts and the tokens of autoencoders come."""
    return load("trace.text", _Text).root
