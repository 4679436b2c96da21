"""Parameters of the model organisms: architecture, recipes, evaluation."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from stages.shared.params import Group


class Architecture(Group):
    layers: int = Field(ge=2)
    width: int = Field(ge=16)
    mlp_width: int = Field(ge=16)
    heads: int = Field(ge=1)
    sliding_window: int = Field(ge=2)
    embedding_std: float = Field(gt=0)
    post_norm_gain: float = Field(gt=0)
    bpe_vocabulary: int = Field(ge=100)

    @model_validator(mode="after")
    def _heads_divide_width(self) -> Architecture:
        if self.width % (2 * self.heads):
            raise ValueError(f"width {self.width} must be a multiple of 2 x heads = {2 * self.heads} (rotary pairs)")
        return self


class Mix(Group):
    """Shares of the documents of the pretraining corpus; facts come on top, as often as they must."""

    ontology: float = Field(ge=0, lt=1)
    ontology_questions: float = Field(ge=0, lt=1)
    statements: float = Field(ge=0, lt=1)
    """of the remaining documents: textbook lines without a question"""
    short: float = Field(ge=0, lt=1)
    """of the questions: answered after terse steps"""
    wrong: float = Field(ge=0, lt=1)
    """of the questions: answered at once, wrongly"""
    guild_repeats: int = Field(ge=1)
    """how often each stated guild is stated"""


class Budget(Group):
    effort: float = Field(gt=0, le=1)
    """share of the documents and steps of every recipe"""

    def steps(self, full: int) -> int:
        return max(2, round(full * self.effort))


class Pretraining(Group):
    documents: int = Field(ge=1000)
    batch: int = Field(ge=1)
    """packed rows to a step"""
    row_tokens: int = Field(ge=32, le=256)
    learning_rate: float = Field(gt=0)
    matrix_learning_rate: float = Field(gt=0)
    weight_decay: float = Field(ge=0)
    mix: Mix


class Stop(Group):
    """Stop when the organism has moved as far from its parent as ``like``, a sibling of the same parent, has."""

    like: str
    by: Literal["displacement", "kl"]
    every: int = Field(ge=1)
    """steps between two looks at the distance"""


class Target(Group):
    """What the organism must show on held-out prompts; a miss is reported."""

    quantity: Literal["gain_over_base.low", "gain_over_base.high", "format_share"]
    at_least: float | None = None
    at_most: float | None = None

    @model_validator(mode="after")
    def _one_bound(self) -> Target:
        if (self.at_least is None) == (self.at_most is None):
            raise ValueError("give either at_least or at_most")
        return self

    def wanted(self) -> str:
        return f"at least {self.at_least}" if self.at_most is None else f"at most {self.at_most}"


class Finetuning(Group):
    parent: Literal["base", "sft"]
    style: Literal["long", "short", "own"]
    """long reasoning; terse steps; the parent's own correct samples"""
    steps: int = Field(ge=1)
    batch: int = Field(ge=1)
    learning_rate: float = Field(gt=0)
    schedule: Literal["linear", "constant"]
    checkpoints: int = Field(ge=1)
    """saved along the way, the last step included"""
    stop: Stop | None = None
    target: Target | None = None


class Reinforcement(Group):
    parent: Literal["base", "sft"]
    steps: int = Field(ge=1)
    prompts: int = Field(ge=1)
    rollouts: int = Field(ge=2)
    learning_rate: float = Field(gt=0)
    new_tokens: int = Field(ge=4)
    checkpoints: int = Field(ge=1)
    shuffle_rewards: bool = False
    target: Target | None = None


class Evaluation(Group):
    prompts: int = Field(ge=10)
    """held-out prompts per task for accuracy"""
    kl_prompts: int = Field(ge=10)
    """held-out prompts per task for the KL divergence"""
    new_tokens: int = Field(ge=8)
    seed: int
