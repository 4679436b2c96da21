"""The parameters of the model organisms: architecture, recipes, evaluation."""

from __future__ import annotations

from functools import reduce
from typing import Annotated, Literal, TypeVar

from pydantic import Field, model_validator

from stages.shared.params import PARAMS_FILE, Group, ParamsError, Seed, load

# A step of an optimiser: 1 is far above what any recipe bears.
Rate = Annotated[float, Field(gt=0, le=1)]


class Architecture(Group):
    """The shape of the tiny Olmo3 model and of its vocabulary, the same for all organisms."""

    layers: int = Field(ge=2)
    width: int = Field(ge=16)
    mlp_width: int = Field(ge=16)
    heads: int = Field(ge=1)
    sliding_window: int = Field(ge=2)
    embedding_std: float = Field(gt=0, le=100)
    post_norm_gain: float = Field(gt=0, le=100)
    bpe_vocabulary: int = Field(ge=100)

    @model_validator(mode="after")
    def _heads_divide_width(self) -> Architecture:
        if self.width % (2 * self.heads):
            raise ValueError(f"width {self.width} must be a multiple of 2 x heads = {2 * self.heads} (rotary pairs)")
        return self


class Mix(Group):
    """Shares of the documents of the pretraining corpus; facts come on top, as often as they must."""

    ontology: float = Field(ge=0, lt=1)
    """This share of the documents are entries of the is-a world."""
    ontology_questions: float = Field(ge=0, lt=1)
    """This share of the documents are questions about the is-a world."""
    statements: float = Field(ge=0, lt=1)
    """This share of the remaining documents are textbook lines without a question."""
    short: float = Field(ge=0, lt=1)
    """This share of the questions is answered after terse steps."""
    wrong: float = Field(ge=0, lt=1)
    """This share of the questions is answered at once, wrongly."""
    guild_repeats: int = Field(ge=1)
    """Each stated guild is stated this often."""

    @model_validator(mode="after")
    def _shares(self) -> Mix:
        for first, second in ("ontology", "ontology_questions"), ("short", "wrong"):
            if (total := getattr(self, first) + getattr(self, second)) > 1:
                raise ValueError(
                    f"{first} and {second} are shares of one whole: their sum is {total:g}, expected at most 1"
                )
        return self


class Budget(Group):
    """The effort of the whole training, for a quick look."""

    effort: float = Field(gt=0, le=1)
    """This share of the documents and steps of every recipe is used."""

    def scaled(self, full: int) -> int:
        """Return the number of documents or steps that the effort leaves of ``full``, at least 2."""
        return max(2, round(full * self.effort))


class Pretraining(Group):
    """The recipe of the base."""

    documents: int = Field(ge=1000)
    batch: int = Field(ge=1)
    """A step reads this many packed rows."""
    row_tokens: int = Field(ge=32, le=256)
    learning_rate: Rate
    matrix_learning_rate: Rate
    weight_decay: float = Field(ge=0, le=1)
    mix: Mix


class Stop(Group):
    """Stop when the organism has moved as far from its parent as ``like``, a sibling of the same parent, has."""

    like: str
    by: Literal["displacement", "kl"]
    """The distance from the parent that is compared."""
    every: int = Field(ge=1)
    """The distance is measured every so many steps."""


class Target(Group):
    """A bound that the organism must keep on held-out prompts; a miss is reported."""

    quantity: Literal["gain_over_base.low", "gain_over_base.high", "format_share"]
    at_least: float | None = Field(default=None, ge=-1, le=1)
    at_most: float | None = Field(default=None, ge=-1, le=1)

    @model_validator(mode="after")
    def _one_bound(self) -> Target:
        if (self.at_least is None) == (self.at_most is None):
            raise ValueError("give either at_least or at_most")
        return self

    def is_met(self, value: float) -> bool:
        """Return whether ``value`` keeps the bound."""
        return value >= self.at_least if self.at_most is None else value <= self.at_most

    def bound(self) -> str:
        """Return the bound in words."""
        return f"at least {self.at_least}" if self.at_most is None else f"at most {self.at_most}"


class Finetuning(Group):
    """The recipe of an organism that is fine-tuned."""

    parent: Literal["base", "sft"]
    style: Literal["long", "short", "own"]
    """The examples are long reasoning, terse steps, or the parent's own correct samples."""
    steps: int = Field(ge=1)
    batch: int = Field(ge=1)
    learning_rate: Rate
    schedule: Literal["linear", "constant"]
    checkpoints: int = Field(ge=1)
    """This many states are saved along the way, the last step included."""
    stop: Stop | None
    """Without a default: it makes a matched control of an ordinary fine-tuning."""
    target: Target | None = None


class Reinforcement(Group):
    """The recipe of an organism that is trained by reinforcement learning."""

    parent: Literal["base", "sft"]
    steps: int = Field(ge=1)
    prompts: int = Field(ge=1)
    rollouts: int = Field(ge=2)
    learning_rate: Rate
    new_tokens: int = Field(ge=4)
    checkpoints: int = Field(ge=1)
    shuffle_rewards: bool
    """Without a default: it makes a control of an ordinary reinforcement."""
    target: Target | None = None


class Evaluation(Group):
    """The evaluation of every organism, on held-out prompts."""

    prompts: int = Field(ge=10)
    """Accuracy is measured on this many held-out prompts per task."""
    kl_prompts: int = Field(ge=10)
    """The KL divergence is measured on this many held-out prompts per task."""
    new_tokens: int = Field(ge=8)
    seed: Seed

    @model_validator(mode="after")
    def _kl_prompts_are_prompts(self) -> Evaluation:
        if self.kl_prompts > self.prompts:
            raise ValueError(f"kl_prompts {self.kl_prompts} are the first of prompts {self.prompts}: expected no more")
        return self


Recipe = TypeVar("Recipe", Finetuning, Reinforcement)
# What makes an organism what its name says: hypotheses speak of it by the name, and dvc.yaml has its inputs.
MEANING = {
    "sft": {"parent": "base", "stop": None},
    "rl_zero": {"parent": "base", "shuffle_rewards": False},
    "think": {"parent": "sft", "shuffle_rewards": False},
    "sft_matched": {"parent": "base", "stop.like": "rl_zero", "stop.by": "displacement"},
    "sft_kl": {"parent": "base", "stop.like": "rl_zero", "stop.by": "kl"},
    "sft_onpolicy": {"parent": "base", "style": "own", "stop": None},
    "sft_continued": {"parent": "sft", "stop.like": "think", "stop.by": "displacement"},
    "rl_shuffled": {"parent": "base", "shuffle_rewards": True},
}


def load_recipe(organism: str, schema: type[Recipe]) -> Recipe:
    """Return the recipe ``organisms.{organism}`` of params.yaml, its steps scaled by the effort of the budget.

    Raises ParamsError where the recipe is not that of its name: a control that controls nothing is none.
    """
    recipe = load(f"organisms.{organism}", schema)
    for key, expected in MEANING[organism].items():
        value = reduce(lambda node, name: getattr(node, name, None), key.split("."), recipe)
        if value != expected:
            raise ParamsError(
                f"{PARAMS_FILE}: organisms.{organism}.{key} is {value!r}: expected {expected!r}, which makes it {organism}"
            )
    return recipe.model_copy(update={"steps": load("organisms.budget", Budget).scaled(recipe.steps)})
