"""Stop a run where the model has moved exactly as far from its parent as another model has."""

from __future__ import annotations

import logging
from collections.abc import Callable

import torch
from torch import nn
from transformers import TrainerCallback

log = logging.getLogger(__name__)

# The search ends within this relative gap; the promise is 5 %.
TOLERANCE = 0.02
BISECTIONS = 10


class StopAtDistance(TrainerCallback):
    """Stop when ``distance(model)`` reaches ``target``, then settle between the last two checks.

    ``distance`` is measured every ``every`` steps. The stopping point lies between the last check
    below the target and the first above it; the weights between them are interpolated linearly
    and bisected until the distance is within TOLERANCE of the target.
    """

    def __init__(self, distance: Callable[[nn.Module], float], target: float, every: int):
        self.distance, self.target, self.every = distance, target, every
        self.weights_short_of_target: dict[str, torch.Tensor] = {}
        # the distance when the run ended, None until then
        self.reached: float | None = None

    def summary(self, quantity: str) -> dict:
        """Return the distance that was the target and the one reached; a run that ended short of it shows in the gap."""
        return {
            "by": quantity,
            "wanted": self.target,
            "reached": self.reached,
            "relative_gap": abs(self.reached / self.target - 1),
        }

    def get_state(self) -> dict:
        """Return the weights at the last check and the distance reached, for a run that goes on later."""
        return {"weights": self.weights_short_of_target, "reached": self.reached}

    def set_state(self, state: dict) -> None:
        """Take up a state that `get_state` returned."""
        self.weights_short_of_target, self.reached = state["weights"], state["reached"]

    def on_train_begin(self, args, state, control, model=None, **_):
        self.weights_short_of_target = _snapshot(model)

    def on_step_end(self, args, state, control, model=None, **_):
        if state.global_step % self.every and state.global_step != args.max_steps:
            return
        training = model.training
        self.reached = self.distance(model)
        if self.reached >= self.target:
            self._settle(model, state.global_step)
            control.should_training_stop = control.should_log = True  # a short run has a curve, too
        else:
            self.weights_short_of_target = _snapshot(model)
        model.train(training)

    def _settle(self, model: nn.Module, step: int) -> None:
        start, end = self.weights_short_of_target, _snapshot(model)
        low, high = 0.0, 1.0
        for _ in range(BISECTIONS):
            if abs(self.reached / self.target - 1) <= TOLERANCE:
                break
            middle = (low + high) / 2
            _load(model, {name: start[name].lerp(end[name], middle) for name in end})
            self.reached = self.distance(model)
            low, high = (middle, high) if self.reached < self.target else (low, middle)
        log.info("stopped at step %d: distance %.4g, wanted %.4g", step, self.reached, self.target)


def _snapshot(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: weight.detach().clone() for name, weight in model.named_parameters()}


@torch.no_grad()
def _load(model: nn.Module, weights: dict[str, torch.Tensor]) -> None:
    for name, weight in model.named_parameters():
        weight.copy_(weights[name])
