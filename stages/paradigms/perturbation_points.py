"""The models with which a sibling is compared: random updates of its size, and points on the way to it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from torch import Tensor, nn

from stages.models.checkpoint import Checkpoint, saved_steps, step_folder
from stages.paradigms.perturbation import AppliedUpdate, perturbed, update
from stages.paradigms.tables import RANDOM_KINDS


class Point(NamedTuple):
    """A model: a kind of `perturbation.perturbed`, or ``checkpoint``, saved on the way."""

    kind: str
    draw: int = 0
    t: float | None = None
    """position of an interpolation between the reference (0) and the sibling (1)"""
    step: int | None = None
    """training step of a checkpoint"""


def all_points(interpolation: Sequence[float], draws: int, checkpoint: Checkpoint) -> list[Point]:
    """Return ``draws`` of each random kind, the negated update, each t of ``interpolation``, and the saved checkpoints."""
    random = [Point(kind, draw) for kind in RANDOM_KINDS for draw in range(draws)]
    interpolated = [Point("interpolation", t=t) for t in sorted(set(interpolation))]
    saved = [Point("checkpoint", step=step) for step in saved_steps(checkpoint.folder)]
    return [*random, Point("negated"), *interpolated, *saved]


def matched_t(delta: Mapping[str, Tensor], like: Mapping[str, Tensor]) -> float | None:
    """Return the t at which t ``delta`` has the norm of ``like``, an update from the same reference; None where it is longer.

    ‖Δ_like‖ / ‖Δ‖: displacements are these norms over that of the reference, which cancels.
    """
    squared, squared_like = (
        sum(d.double().square().sum().item() for d in tensors.values()) for tensors in (delta, like)
    )
    return (squared_like / squared) ** 0.5 if squared_like <= squared else None


@contextmanager
def moved_to(
    model: nn.Module, point: Point, delta: Mapping[str, Tensor], reference: Checkpoint, sibling: Checkpoint, seed: int
) -> Iterator[AppliedUpdate]:
    """Move ``model``, which holds the reference's weights, to those of ``point`` inside the context; back after it."""
    if point.kind == "checkpoint":
        saved = sibling._replace(folder=step_folder(sibling.folder, point.step))
        with perturbed(model, update(reference, saved), "interpolation", t=1.0) as applied:
            yield applied
    else:
        with perturbed(model, delta, point.kind, point.draw, seed, point.t) as applied:
            yield applied
