"""Flat and hierarchical autoencoders seen alike: which latents fire, how strongly, and what each adds."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from stages.concepts.autoencoders.flat import Flat
from stages.concepts.autoencoders.hierarchical import Hierarchical


class Dense(NamedTuple):
    """The codes of n tokens; a flat autoencoder has latents in place of parents, and no children."""

    parents: Tensor
    """(n, P) codes, 0 where a parent does not fire."""
    children: Tensor
    """(n, C) codes of all children, those of parent i at i m .. (i + 1) m - 1; C = 0 of a flat one."""
    whole: Tensor
    """(n, d) reconstruction."""


@torch.no_grad()
def dense(model: Hierarchical | Flat, x: Tensor) -> Dense:
    """Return all codes of ``x`` (n, d), with a 0 for every latent that does not fire."""
    if isinstance(model, Flat):
        codes = model.encode(x)
        return Dense(codes, codes[:, :0], model.decode(codes))
    reconstruction = model(x)
    parent, strength, child, child_strength = reconstruction.codes
    shape = model.shape
    parents = torch.zeros(len(x), shape.parents).scatter(1, parent, strength)
    index = parent * shape.children + child
    children = torch.zeros(len(x), shape.parents * shape.children).scatter(1, index, child_strength)
    return Dense(parents, children, reconstruction.whole)


@torch.no_grad()
def directions(model: Hierarchical | Flat) -> tuple[Tensor, Tensor]:
    """Return what a unit of each parent (P, d) and of each child (C, d) adds."""
    if isinstance(model, Flat):
        return model.decoder.detach(), model.decoder.detach()[:0]
    return model.parents.detach(), model.departures().detach().flatten(0, 1)


@torch.no_grad()
def readers(model: Hierarchical | Flat) -> Tensor:
    """Return (P, d) the direction along which each parent's code grows."""
    return (model.encoder if isinstance(model, Flat) else model.router).detach()
