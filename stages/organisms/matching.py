"""Stop a run where the model has moved exactly as far from the base as another one has."""

from __future__ import annotations

import logging
from collections.abc import Callable

import torch
from torch import nn
from transformers import TrainerCallback

log = logging.getLogger(__name__)

TOLERANCE = 0.02
"""Relative gap at which the search ends; the promise is 5 %."""
BISECTIONS = 10


class StopAtDistance(TrainerCallback):
    """Stop when ``distance(model)`` reaches ``target``, then settle between the last two checks.

    ``distance`` is looked at every ``every`` steps. The stopping point lies between the last look
    below the target and the first above it; the weights between them are interpolated linearly
    and bisected until the distance is within TOLERANCE of the target.
    """

    def __init__(self, distance: Callable[[nn.Module], float], target: float, every: int):
        self.distance, self.target, self.every = distance, target, every
        self.below: dict[str, torch.Tensor] = {}
        self.reached: float | None = None
        """the distance when the run ended; None before"""

    def summary(self, by: str) -> dict:
        """What was wanted and reached; a run that ended short of the target shows it in the gap."""
        return {
            "by": by,
            "wanted": self.target,
            "reached": self.reached,
            "relative_gap": abs(self.reached / self.target - 1),
        }

    def on_train_begin(self, args, state, control, model=None, **_):
        self.below = _snapshot(model)

    def on_step_end(self, args, state, control, model=None, **_):
        if state.global_step % self.every and state.global_step != args.max_steps:
            return
        training = model.training
        self.reached = self.distance(model)
        if self.reached >= self.target:
            self._settle(model, state.global_step)
            control.should_training_stop = control.should_log = True  # a short run has a curve, too
        else:
            self.below = _snapshot(model)
        model.train(training)

    def _settle(self, model: nn.Module, step: int) -> None:
        above, low, high = _snapshot(model), 0.0, 1.0
        for _ in range(BISECTIONS):
            if abs(self.reached / self.target - 1) <= TOLERANCE:
                break
            middle = (low + high) / 2
            _load(model, {name: self.below[name].lerp(above[name], middle) for name in above})
            self.reached = self.distance(model)
            low, high = (middle, high) if self.reached < self.target else (low, middle)
        log.info("stopped at step %d: distance %.4g, wanted %.4g", step, self.reached, self.target)


def _snapshot(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: weight.detach().clone() for name, weight in model.named_parameters()}


@torch.no_grad()
def _load(model: nn.Module, weights: dict[str, torch.Tensor]) -> None:
    for name, weight in model.named_parameters():
        weight.copy_(weights[name])
