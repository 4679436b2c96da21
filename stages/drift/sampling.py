"""The sampled tokens of one model in all its states: its checkpoints, itself, and untrained."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
from transformers import PreTrainedModel

from stages.activations.reservoir import choose, sample_layers
from stages.activations.tokens import Tokens
from stages.drift.params import Drift
from stages.drift.samples import FINAL, UNTRAINED, Rows, State
from stages.models.capture import self_test
from stages.models.checkpoint import Checkpoint, open_checkpoint
from stages.models.loading import load_model
from stages.models.run_registry import log_spaced
from stages.models.runs import identity, is_organism, opened, saved_checkpoints
from stages.models.untrained import untrained_model


class Material(NamedTuple):
    """Of one task: its prompts, and the positions of each that are kept, ascending, position 0 first."""

    tokens: Tokens
    chosen: list[np.ndarray]

    def rows(self) -> Rows:
        prompt = np.repeat(np.arange(len(self.chosen)), [len(positions) for positions in self.chosen])
        return Rows(prompt, np.concatenate(self.chosen), self.tokens.digest())


def material(tokens: Tokens, params: Drift) -> Material:
    """Position 0 of every prompt beside its drawn content tokens: clouds with and without sinks come of one pass."""
    drawn = choose(tokens, params.tokens_per_prompt, params.seed)
    return Material(tokens, [np.concatenate([[0], positions]) for positions in drawn])


def sample_model(
    name: str, reference: str, shown: Mapping[str, Material], precision: str, budget: int, params: Drift
) -> Iterator[tuple[State, dict[str, np.ndarray]]]:
    """Every state of the model ``name`` with its values (points, rows, d) by task.

    An organism has checkpoints; only a model that is its own reference is sampled untrained.
    """
    saved = log_spaced(saved_checkpoints(name), params.checkpoints) if is_organism(name) else []
    final = open_checkpoint(name)
    for one in saved:
        with opened(name, one, identity(one)) as checkpoint:
            if checkpoint.weight_hash != final.weight_hash:  # the last one saved is the model itself
                yield _sampled(f"step-{one.step}", one.step, checkpoint, precision, shown, budget)
    yield _sampled(FINAL, saved[-1].step if saved else -1, final, precision, shown, budget)
    if name == reference:
        yield _sampled_untrained(final, precision, shown, budget, params.seed)


def sample_run(
    run: str, shown: Mapping[str, Material], precision: str, budget: int, params: Drift
) -> Iterator[tuple[State, dict[str, np.ndarray]]]:
    """The same of the checkpoints of ``run``, the last one as its final state; weights are opened one at a time."""
    saved = log_spaced(saved_checkpoints(run), params.checkpoints)
    for one in saved:
        last = one is saved[-1]
        with opened(run, one, identity(one)) as checkpoint:
            yield _sampled(FINAL if last else f"step-{one.step}", one.step, checkpoint, precision, shown, budget)
            if last:
                yield _sampled_untrained(checkpoint, precision, shown, budget, params.seed)


def _sampled(
    name: str, step: int, checkpoint: Checkpoint, precision: str, shown: Mapping[str, Material], budget: int
) -> tuple[State, dict[str, np.ndarray]]:
    model = load_model(checkpoint, precision)
    self_test(model)
    state = State(name, step, checkpoint.architecture, checkpoint.weight_hash, checkpoint.resolved_revision)
    return state, _values(model, shown, budget)


def _sampled_untrained(
    checkpoint: Checkpoint, precision: str, shown: Mapping[str, Material], budget: int, seed: int
) -> tuple[State, dict[str, np.ndarray]]:
    model = untrained_model(checkpoint, precision, seed)
    return State(UNTRAINED, -1, checkpoint.architecture, f"random, seed {seed}", "none"), _values(model, shown, budget)


def _values(model: PreTrainedModel, shown: Mapping[str, Material], budget: int) -> dict[str, np.ndarray]:
    return {
        task: sample_layers(model, of_task.tokens, of_task.chosen, budget).values for task, of_task in shown.items()
    }
