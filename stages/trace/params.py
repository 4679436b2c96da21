"""Parameters of the study of training traces: the groups `ngrams`, `phases` and `trace`."""

from __future__ import annotations

import re
from typing import Any, Literal

from pydantic import Field, RootModel, field_validator, model_validator

from stages.shared.checks import DecayRanks, Share, require_blocks, require_different, require_recipes
from stages.shared.params import Group, ParamsError, Seed, load
from stages.shared.registry import SLUG
from stages.shared.study import RECIPES, require_no_organism


class Api(Group):
    """The public infini-gram API, which serves indexes of published corpora."""

    url: str
    tries: int = Field(ge=1)
    """Number of times that a request is tried before it is given up."""
    seconds: float = Field(gt=0)
    """Time after which an answer counts as lost."""


class Corpus(Group):
    """One corpus: an index of the API, or a local file."""

    index: str | None = Field(default=None, pattern=f"^{SLUG}$")
    """Name of the index of the API."""
    file: str | None = None
    """One document a line: a .txt file, or the key `text` of a .jsonl file."""
    tokenizer: str | None = None
    """Folder or hub id of the tokenizer that cuts file and answers into tokens."""
    revision: str | None = None
    """Commit of the hub's tokenizer."""

    @model_validator(mode="after")
    def _one_source(self) -> Corpus:
        if (self.index is None) == (self.file is None):
            raise ValueError("expected either index (of the API), or file and tokenizer")
        if (self.file is None) != (self.tokenizer is None):
            raise ValueError("expected file and tokenizer together: the API has its own tokenizer, a file has none")
        if self.revision is not None and self.tokenizer is None:
            raise ValueError("revision is the tokenizer's: name the tokenizer, or leave it out")
        return self


class Answers(RootModel[list[str]]):
    """Tasks whose prompts and answers are looked up."""

    @model_validator(mode="after")
    def _some(self) -> Answers:
        if not self.root or len(set(self.root)) < len(self.root):
            raise ValueError(f"expected one task or more, each once, found {self.root}")
        return self


class Ngrams(Group):
    """The corpora in which answers are counted."""

    organisms: list[Literal["base"]]
    """Recipes whose pretraining corpus is looked into, for every family; [] for none."""
    answers: Answers
    corpora: dict[str, Any]
    """Corpora by name; an entry is validated when it is used."""
    api: Api


def load_corpus(name: str) -> Corpus:
    """Return the entry ``name`` of `ngrams.corpora`; raises ParamsError naming the key and the fix."""
    names = list(load("ngrams", Ngrams).corpora)
    if name not in names:
        raise ParamsError(f"no corpus {name!r} in ngrams.corpora: there are: {', '.join(names) or 'none'}; or base-s0")
    if not re.fullmatch(SLUG, name):
        raise ParamsError(
            f"ngrams.corpora.{name}: a name has letters, digits, - and _ only (it names stages and files)"
        )
    require_no_organism(name, "ngrams.corpora")
    return load(f"ngrams.corpora.{name}", Corpus)


class Headline(Group):
    """The place whose RankMe and alpha speak for a checkpoint: fixed before looking."""

    site: Literal["resid_post", "final_norm"]
    """resid_post of the last layer is before the final norm."""
    level: Literal["token", "last_token"]


class PhaseParams(Group):
    """How phases are detected, and how answers are grouped by their support."""

    headline: Headline
    draws: int = Field(ge=100)
    """Number of series of noise behind the prominence that a turn must have."""
    support: list[int] = Field(min_length=1)
    """Lower bounds of the strata of answers by their count in the corpus."""
    half_samples: int = Field(ge=12)
    """Least number of half-samples of the answers behind each correlation; they come in sixes."""
    seed: Seed

    @field_validator("support")
    @classmethod
    def _ascending(cls, value: list[int]) -> list[int]:
        if value != sorted(set(value)) or value[0] < 1:
            raise ValueError(f"support {value}: expected ascending counts from 1 on (0 is always a stratum of its own)")
        return value


class Accuracy(Group):
    """Verified answers of each checkpoint to the study's generated tasks."""

    prompts: int = Field(ge=10)
    """Number of prompts per task, the first of the held-out split."""
    new_tokens: int = Field(ge=4)
    """Length of the longest completion, in tokens."""


class Trace(Group):
    """The runs whose checkpoints are followed, and what is measured of each."""

    organisms: list[str]
    """Recipes, followed in every family."""
    runs: list[str]
    """Entries of data/registry/runs.yaml."""
    text: str
    """The text that all checkpoints are given, one of `texts`."""
    sequences: int = Field(ge=16)
    length: int = Field(ge=8)
    """Number of tokens of a sequence."""
    blocks: int
    """Number of blocks of sequences; half-samples are sums of blocks."""
    checkpoints: int = Field(ge=2)
    """Largest number of checkpoints of a run, spaced evenly in the logarithm of the step."""
    tokens_per_batch: int = Field(ge=1)
    interval_depths: list[Share] = Field(min_length=1)
    """Layers with intervals, as shares of their number; the final norm always has them."""
    decay_ranks: DecayRanks
    bands: list[float] = Field(min_length=2)
    """Bounds of the bands of ranks, shares of the rank, ascending."""
    accuracy: Accuracy | None
    confidence: float = Field(gt=0.5, lt=1)
    seed: Seed
    """Seed of the sampled answers."""

    @model_validator(mode="after")
    def _sound(self) -> Trace:
        require_recipes(self.organisms)
        for name in ("organisms", "runs"):
            require_different(name, getattr(self, name))
        require_blocks(self.blocks)
        if self.sequences % self.blocks:
            raise ValueError(f"sequences {self.sequences} must be a multiple of blocks {self.blocks}")
        if self.bands != sorted(set(self.bands)) or self.bands[0] < 0 or self.bands[-1] > 1:
            raise ValueError(f"bands: expected ascending shares from 0 to 1, found {self.bands}")
        require_different("interval_depths", self.interval_depths)
        return self


class Seeds(RootModel[list[int]]):
    """The seeds of the study, `study.seeds`: a study of runs of the registry alone may have none."""


class Tasks(RootModel[list[str]]):
    """The tasks of the study, `study.tasks`."""


class _Parent(RootModel[str]):
    """The parent of a recipe, `organisms.RECIPE.parent`."""


def recipe_parents(recipes: list[str]) -> dict[str, str | None]:
    """Return the recipe from whose end each of ``recipes`` starts; None for the base."""
    return {
        recipe: None if recipe == RECIPES[0] else load(f"organisms.{recipe}.parent", _Parent).root for recipe in recipes
    }
