"""Clouds that move in known ways from layer to layer: paired tokens of prompts, in clusters along one axis.

Cluster c lies in a ball of radius `RADIUS` around c x `GAP` on axis 0. Between layers the cloud is shifted, compressed,
rotated, or its clusters merge or split along axis 0. W2 (the square root) between neighbouring layers is then known:

- x -> a + A x with A symmetric positive semi-definite, and x -> x with x_0 replaced by f(x_0), f nondecreasing, are
  gradients of convex functions, so that the identity is an optimal plan (Brenier 1991) and W2² the mean squared step;
- a rotation is no such gradient: turned far enough, the identity costs more than it must, and how much depends on the
  cloud. (Turned little, every row of a finite cloud is still nearest to itself.)

Tokens of a prompt are dependent: they share a part of their place in the ball (`intraclass_correlation`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

GAP, RADIUS = 4.0, 1.0


class Cloud(NamedTuple):
    """Tokens of prompts, in clusters."""

    values: np.ndarray
    """(rows, d)"""
    prompt: np.ndarray
    """(rows,), ascending"""
    position: np.ndarray
    """(rows,) in the prompt, from 1: position 0 is masked"""
    cluster: np.ndarray
    """(rows,)"""


class Moved(NamedTuple):
    """A cloud's rows after a step, in their order, and what is known of the step."""

    values: np.ndarray
    w2: float | None
    """None where there is no closed form"""
    identity_cost: float
    """mean squared distance of paired rows, from the parameters of the step and not from the rows after it"""


class Course(NamedTuple):
    """Layers of one cloud; `w2` and `identity_cost` are (layers - 1,), NaN where W2 is not known."""

    values: np.ndarray
    """(layers, rows, d)"""
    start: Cloud
    w2: np.ndarray
    identity_cost: np.ndarray


# From the values (rows, d) and the clusters (rows,) to the cloud after a step.
Move = Callable[[np.ndarray, np.ndarray], Moved]


def clusters(count: int, prompts: int, per_prompt: int, d: int, seed: int, shared: float = 0.5) -> Cloud:
    """Return ``prompts`` of ``per_prompt`` tokens, every prompt with tokens of all ``count`` clusters in turn.

    Around its centre a token lies at shared x (the prompt's place) + (1 - shared) x (its own), both uniform in the ball.
    """
    generator = np.random.default_rng(seed)
    prompt, position = np.divmod(np.arange(prompts * per_prompt), per_prompt)
    cluster = position % count
    offsets = shared * ball(generator, prompts, d)[prompt] + (1 - shared) * ball(generator, len(prompt), d)
    values = offsets + GAP * cluster[:, None] * np.eye(d)[0]
    return Cloud(values, prompt, position + 1, cluster)


def ball(generator: np.random.Generator, rows: int, d: int) -> np.ndarray:
    """Return (rows, d) uniform in the ball of `RADIUS`: variance RADIUS² / (d + 2) in each dimension."""
    normal = generator.standard_normal((rows, d))
    return RADIUS * generator.random((rows, 1)) ** (1 / d) * normal / np.linalg.norm(normal, axis=1, keepdims=True)


def intraclass_correlation(shared: float) -> float:
    """Return the correlation of two tokens of one prompt, each from its cluster's centre, in every dimension."""
    return shared**2 / (shared**2 + (1 - shared) ** 2)


def course(start: Cloud, moves: Sequence[Move]) -> Course:
    """Apply the moves: layer 0 is the start, layer i + 1 comes of layer i by the i-th move."""
    values, steps = [start.values], []
    for move in moves:
        steps.append(move(values[-1], start.cluster))
        values.append(steps[-1].values)
    w2 = np.array([np.nan if step.w2 is None else step.w2 for step in steps])
    return Course(np.stack(values), start, w2, np.array([step.identity_cost for step in steps]))


def shift(by: np.ndarray) -> Move:
    """Shift all rows: x + ``by``; W2 = |by|."""
    cost = float(np.square(by).sum())
    return lambda x, _: Moved(x + by, cost**0.5, cost)


def compress(factor: float) -> Move:
    """Compress about the mean m: m + ``factor`` (x - m); W2 = |1 - factor| sqrt(total variance); above 1 it spreads."""
    if not factor >= 0:
        raise ValueError(f"factor {factor}: expected 0 or more, or the identity is not optimal")

    def move(x: np.ndarray, _: np.ndarray) -> Moved:
        cost = (1 - factor) ** 2 * float(x.var(axis=0).sum())
        return Moved(x.mean(axis=0) + factor * (x - x.mean(axis=0)), cost**0.5, cost)

    return move


def rotate(angle: float, axes: tuple[int, int] = (0, 1)) -> Move:
    """Rotate by ``angle`` about the mean in the plane of two axes: the identity costs 2 (1 - cos angle) x the variance in it."""
    i, j = axes

    def move(x: np.ndarray, _: np.ndarray) -> Moved:
        turned, (cosine, sine) = x.copy(), (np.cos(angle), np.sin(angle))
        a, b = (x[:, axis] - x[:, axis].mean() for axis in axes)
        turned[:, i], turned[:, j] = cosine * a - sine * b + x[:, i].mean(), sine * a + cosine * b + x[:, j].mean()
        cost = 2 * (1 - cosine) * float(x[:, [i, j]].var(axis=0).sum())
        return Moved(turned, 0.0 if cost == 0 else None, cost)

    return move


def merge(one: int, other: int, by: float) -> Move:
    """Merge clusters: ``one`` and ``other``, its right neighbour, step ``by`` / 2 towards each other along axis 0.

    They must not overlap.
    """

    def move(x: np.ndarray, cluster: np.ndarray) -> Moved:
        return _along_axis(x, by / 2 * ((cluster == one).astype(float) - (cluster == other)))

    return move


def split(which: int, by: float) -> Move:
    """Split a cluster: the halves of ``which`` on either side of its median on axis 0 step ``by`` / 2 apart."""

    def move(x: np.ndarray, cluster: np.ndarray) -> Moved:
        own = cluster == which
        return _along_axis(x, by / 2 * own * np.where(x[:, 0] > np.median(x[own, 0]), 1.0, -1.0))

    return move


def _along_axis(x: np.ndarray, step: np.ndarray) -> Moved:
    """Move each row by its ``step`` (rows,) on axis 0; ValueError where rows would change their order there."""
    moved = x.copy()
    moved[:, 0] += step
    if (np.diff(moved[np.argsort(x[:, 0]), 0]) < 0).any():
        raise ValueError("rows would pass each other on axis 0, and the identity need not be optimal: step less")
    cost = float(np.square(step).mean())
    return Moved(moved, cost**0.5, cost)
