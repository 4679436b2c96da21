"""Start a hierarchical autoencoder from known concepts: a parent for each kind, a child for each of its words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from stages.concepts.autoencoders.flat import unit
from stages.concepts.autoencoders.hierarchical import Hierarchical


class Teacher(NamedTuple):
    """The directions of known concepts in the space of the states; lengths do not matter."""

    parents: np.ndarray
    """(K, d) vectors of the kinds."""
    departures: list[np.ndarray]
    """How the words of each kind differ from it, (words, d)."""


def teach(states: np.ndarray, parent: np.ndarray, kinds: int) -> Teacher:
    """Return the kinds' means as departures from the grand mean, and words as departures from their kind's mean.

    ``states`` (W, d) are mean states at words, ``parent`` (W,) the kind of each. The grand mean is that of the kinds,
    each counted once.
    """
    means = np.stack([states[parent == kind].mean(axis=0) for kind in range(kinds)])
    return Teacher(means - means.mean(axis=0), [states[parent == kind] - means[kind] for kind in range(kinds)])


@torch.no_grad()
def initialise(model: Hierarchical, teacher: Teacher, noise: float, seed: int) -> None:
    """Put the teacher's concepts into the first parents of ``model``; the others stay as they are.

    A subspace is spanned by the largest singular directions of its departures; each atom is a departure in it, and what
    atoms are left stay random. ``noise`` times a random vector of the same length is added to every direction first.
    Encoders read what decoders write. Raises ValueError where the model has fewer parents than there are kinds.
    """
    kinds, d = teacher.parents.shape
    if kinds > model.shape.parents or d != model.shape.d:
        raise ValueError(
            f"a teacher of {kinds} kinds in {d} dimensions for {model.shape}: expected as many parents or more, and one width"
        )
    generator = torch.Generator().manual_seed(seed)
    model.parents[:kinds] = _noisy(teacher.parents, noise, generator)
    model.router[:kinds] = model.parents[:kinds]
    for kind, departures in enumerate(teacher.departures):
        directions = _noisy(departures[: model.shape.children], noise, generator)  # (words, d)
        frame = torch.linalg.svd(directions, full_matrices=False)[2][: model.shape.subspace]  # (<= s, d)
        rank = len(frame)
        rest = model.up[kind] - (model.up[kind] @ frame.T) @ frame
        basis = torch.linalg.qr(torch.cat([frame, rest[: model.shape.subspace - rank]]).T)[0].T  # (s, d)
        model.up[kind], model.down[kind] = basis, basis
        atoms = unit(directions @ basis.T)
        model.atoms[kind, : len(atoms)] = atoms
        model.child_encoder[kind, : len(atoms)] = atoms


def _noisy(directions: np.ndarray | Sequence, noise: float, generator: torch.Generator) -> Tensor:
    """Return unit rows, moved by ``noise`` times a random unit vector and brought to length 1 again."""
    rows = unit(torch.as_tensor(np.asarray(directions), dtype=torch.float32))
    return unit(rows + noise * unit(torch.randn(rows.shape, generator=generator)))
