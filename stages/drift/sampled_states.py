"""The sampled tokens of one model in each of its states: its checkpoints, its final weights, and untrained."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
from transformers import PreTrainedModel

from stages.activations.reservoir import choose, sample_layers
from stages.activations.tokens import Tokens
from stages.drift.params import Drift
from stages.drift.sample_files import FINAL, UNTRAINED, ModelState, SampledTokens
from stages.models.capture import self_test
from stages.models.checkpoint import Checkpoint, open_checkpoint
from stages.models.loading import load_model
from stages.models.run_registry import log_spaced
from stages.models.runs import is_organism, open_saved, saved_checkpoints, weight_identity
from stages.models.untrained import untrained_model

# A state, and its values (depths, rows, d) by task.
StateValues = tuple[ModelState, dict[str, np.ndarray]]


class ChosenTokens(NamedTuple):
    """The tokenised prompts of one task, and the positions of each that are sampled, ascending, position 0 first."""

    tokens: Tokens
    positions: list[np.ndarray]

    def table(self) -> SampledTokens:
        """Return the sampled tokens, a row each."""
        prompt = np.repeat(np.arange(len(self.positions)), [len(positions) for positions in self.positions])
        return SampledTokens(prompt, np.concatenate(self.positions), self.tokens.digest())


class Sampling(NamedTuple):
    """The tokens that are sampled of every state, and the way in which the model is run."""

    chosen: Mapping[str, ChosenTokens]
    """The tokens, by task"""
    precision: str
    tokens_per_batch: int
    params: Drift


def choose_tokens(tokens: Tokens, params: Drift) -> ChosenTokens:
    """Choose position 0 of every prompt beside its drawn content tokens.

    Clouds with and without sinks come of one pass.
    """
    drawn = choose(tokens, params.tokens_per_prompt, params.seed)
    return ChosenTokens(tokens, [np.concatenate([[0], positions]) for positions in drawn])


def sample_model(model: str, reference: str, sampling: Sampling) -> Iterator[StateValues]:
    """Yield every state of ``model`` with its values.

    An organism has checkpoints; only a model that is its own reference is sampled untrained.
    """
    saved = log_spaced(saved_checkpoints(model), sampling.params.checkpoints) if is_organism(model) else []
    final = open_checkpoint(model)
    for saved_step in saved:
        with open_saved(model, saved_step, weight_identity(saved_step)) as checkpoint:
            if checkpoint.weight_hash != final.weight_hash:  # the last one saved is the model itself
                yield _trained_state(f"step-{saved_step.step}", saved_step.step, checkpoint, sampling)
    yield _trained_state(FINAL, saved[-1].step if saved else -1, final, sampling)
    if model == reference:
        yield _untrained_state(final, sampling)


def sample_run(run: str, sampling: Sampling) -> Iterator[StateValues]:
    """Yield the checkpoints of ``run`` with their values, the last one as the final state, and the untrained model.

    Weights are opened one checkpoint at a time.
    """
    saved = log_spaced(saved_checkpoints(run), sampling.params.checkpoints)
    for saved_step in saved:
        is_last = saved_step is saved[-1]
        with open_saved(run, saved_step, weight_identity(saved_step)) as checkpoint:
            name = FINAL if is_last else f"step-{saved_step.step}"
            yield _trained_state(name, saved_step.step, checkpoint, sampling)
            if is_last:
                yield _untrained_state(checkpoint, sampling)


def _trained_state(name: str, step: int, checkpoint: Checkpoint, sampling: Sampling) -> StateValues:
    model = load_model(checkpoint, sampling.precision)
    self_test(model)
    state = ModelState(name, step, checkpoint.architecture, checkpoint.weight_hash, checkpoint.resolved_revision)
    return state, _values(model, sampling)


def _untrained_state(checkpoint: Checkpoint, sampling: Sampling) -> StateValues:
    seed = sampling.params.seed
    model = untrained_model(checkpoint, sampling.precision, seed)
    state = ModelState(UNTRAINED, -1, checkpoint.architecture, f"random, seed {seed}", "none")
    return state, _values(model, sampling)


def _values(model: PreTrainedModel, sampling: Sampling) -> dict[str, np.ndarray]:
    return {
        task: sample_layers(model, chosen.tokens, chosen.positions, sampling.tokens_per_batch).values
        for task, chosen in sampling.chosen.items()
    }
