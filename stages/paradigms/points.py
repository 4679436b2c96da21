"""The models that a sibling's update is set beside: draws of the same size, and points on the way to the sibling."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from torch import Tensor, nn

from stages.models.checkpoint import Checkpoint
from stages.paradigms.perturbation import RANDOM, Perturbed, perturbed, update

CHECKPOINTS, STEP = "checkpoints", "step-"


class Point(NamedTuple):
    """One model: a kind of `perturbation.perturbed`, or ``checkpoint``, saved on the way."""

    kind: str
    draw: int = 0
    t: float | None = None
    """of an interpolation"""
    step: int | None = None
    """of a checkpoint"""


def plan(line: Sequence[float], draws: int, checkpoint: Checkpoint) -> list[Point]:
    """Every point: ``draws`` of each random kind, the negated update, each t of the ``line``, the saved checkpoints."""
    random = [Point(kind, draw) for kind in RANDOM for draw in range(draws)]
    along = [Point("interpolation", t=t) for t in sorted(set(line))]
    saved = [Point("checkpoint", step=step) for step in saved_steps(checkpoint)]
    return [*random, Point("negated"), *along, *saved]


def saved_steps(checkpoint: Checkpoint) -> list[int]:
    """Steps at which a checkpoint was saved, ascending; hub models have none."""
    return sorted(int(path.name.removeprefix(STEP)) for path in (checkpoint.folder / CHECKPOINTS).glob(f"{STEP}*"))


def matched_t(delta: Mapping[str, Tensor], like: Mapping[str, Tensor]) -> float | None:
    """t at which t ``delta`` has the norm of ``like``, an update from the same reference; None where it is longer.

    ‖Δ_like‖ / ‖Δ‖: displacements are these norms over that of the reference, which cancels.
    """
    own, other = (sum(d.double().square().sum().item() for d in deltas.values()) for deltas in (delta, like))
    return (other / own) ** 0.5 if other <= own else None


@contextmanager
def placed(
    model: nn.Module, point: Point, delta: Mapping[str, Tensor], reference: Checkpoint, sibling: Checkpoint, seed: int
) -> Iterator[Perturbed]:
    """Inside the context ``model``, which holds the reference's weights, holds those of ``point``."""
    if point.kind == "checkpoint":
        saved = sibling._replace(folder=sibling.folder / CHECKPOINTS / f"{STEP}{point.step}")
        with perturbed(model, update(reference, saved), "interpolation", t=1.0) as found:
            yield found
    else:
        with perturbed(model, delta, point.kind, point.draw, seed, point.t) as found:
            yield found
