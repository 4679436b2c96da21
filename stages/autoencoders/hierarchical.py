"""A hierarchical sparse autoencoder: a router over parents, and behind each parent a small dictionary of children in a
subspace of its own.

    p = ReLU(E (x - b) + e)                     parents' codes (n, P); the k largest stay, the others are 0
    z_i = S_i (x - b)                           coordinates (s,) in the subspace of a chosen parent i
    c_i = ReLU(C_i z_i + h_i)                   codes of its m children; the largest stays
    x̂ = b + Σ_i p_i D_i + c_ij U_i' A_ij        i over the chosen parents, j the child that stayed

Codes are real: a parent's code says how much of it there is. D (P, d) are the parents' vectors, U_i' A_ij (d,) that of
child j as a departure from its parent. Children are computed for chosen parents only: tokens are sorted by parent, so
the cost grows with n k and hardly with P. Source: Muchane et al. 2025; Park et al. 2025 for what children should be.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from stages.autoencoders.flat import unit


class Shape(NamedTuple):
    d: int
    parents: int
    children: int
    """of each parent"""
    subspace: int
    """dimensions in which the children of a parent lie"""
    k: int
    """parents of a token"""


class Codes(NamedTuple):
    """Of n tokens; everything (n, k): entry t is of the t-th strongest parent."""

    parent: Tensor
    """number of the parent"""
    strength: Tensor
    """p of it, 0 or more"""
    child: Tensor
    """number of its child"""
    child_strength: Tensor
    """c of it, 0 or more"""


class Reconstruction(NamedTuple):
    whole: Tensor
    """x̂ (n, d)"""
    top: Tensor
    """b + Σ p_i D_i (n, d): by the parents alone"""
    codes: Codes


class Hierarchical(nn.Module):
    """See the head of this module."""

    def __init__(self, shape: Shape, seed: int):
        super().__init__()
        if not 1 <= shape.k <= shape.parents or shape.children < 1 or not 1 <= shape.subspace <= shape.d:
            raise ValueError(
                f"{shape}: expected 1 <= k <= parents, a child or more, and a subspace of 1 to d dimensions"
            )
        self.shape = shape
        generator = torch.Generator().manual_seed(seed)
        parents = unit(torch.randn(shape.parents, shape.d, generator=generator))
        frames = torch.linalg.qr(torch.randn(shape.parents, shape.d, shape.subspace, generator=generator))[0].mT
        atoms = unit(torch.randn(shape.parents, shape.children, shape.subspace, generator=generator))
        self.parents = nn.Parameter(parents)  # D (P, d)
        self.router = nn.Parameter(parents.clone())  # E (P, d)
        self.router_bias = nn.Parameter(torch.zeros(shape.parents))
        self.down = nn.Parameter(frames.clone().contiguous())  # S (P, s, d)
        self.up = nn.Parameter(frames.clone().contiguous())  # U (P, s, d)
        self.atoms = nn.Parameter(atoms)  # A (P, m, s)
        self.child_encoder = nn.Parameter(atoms.clone())  # C (P, m, s)
        self.child_bias = nn.Parameter(torch.zeros(shape.parents, shape.children))
        self.bias = nn.Parameter(torch.zeros(shape.d))

    def forward(self, x: Tensor) -> Reconstruction:
        """Of ``x`` (n, d)."""
        n, k = len(x), self.shape.k
        # E (x - b) as E x - E b: no gradient through a centred copy of the batch, nor through its sorting.
        offset = self.router_bias - self.router @ self.bias  # (P,)
        strength, parent = torch.relu(x @ self.router.T + offset).topk(k, dim=-1)  # (n, k)
        codes = torch.zeros(n, self.shape.parents, dtype=x.dtype, device=x.device).scatter(-1, parent, strength)
        top = codes @ self.parents + self.bias
        # Tokens of one parent side by side: a slice of the batch for each expert.
        order = parent.flatten().argsort(stable=True)  # (n k,)
        token = order // k
        active = (strength.flatten()[order] > 0).to(x.dtype)  # a parent with code 0 has no children
        counts = torch.bincount(parent.flatten(), minlength=self.shape.parents).tolist()
        # Unbound once: a gradient through `self.down[i]` would fill all of `down` with zeros for every parent.
        weights = (self.down, self.child_encoder, self.child_bias, self.atoms, self.up)
        experts = zip(*(weight.unbind() for weight in weights), strict=True)
        slices = zip(experts, x[token].split(counts), active.split(counts), strict=True)
        parts = [_child(rows, used, self.bias, *expert) for expert, rows, used in slices if len(rows)]
        child, child_strength, departure = (torch.cat(column) for column in zip(*parts, strict=True))
        whole = top.index_add(0, token, departure)
        back = order.argsort()
        found = Codes(parent, strength, child[back].view(n, k), child_strength[back].view(n, k))
        return Reconstruction(whole, top, found)

    def departures(self) -> Tensor:
        """U_i' A_ij of every child (P, m, d)."""
        return self.atoms @ self.up


def _child(
    rows: Tensor, used: Tensor, centre: Tensor, down: Tensor, encoder: Tensor, bias: Tensor, atoms: Tensor, up: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Best child (r,), its code (r,) and the departure (r, d) of the tokens ``rows`` x (r, d) of one parent.

    ``centre`` is b (d,). Nothing where ``used`` (r,) is 0 in place of 1.
    """
    coordinates = rows @ down.T - down @ centre  # (r, s)
    strength, child = torch.relu(coordinates @ encoder.T + bias).max(dim=-1)  # of (r, m)
    strength = strength * used
    return child, strength, (strength[:, None] * atoms[child]) @ up


@torch.no_grad()
def normalise(model: Hierarchical) -> None:
    """Parents' vectors and atoms of length 1, subspaces orthonormal: a code is then the length of what it adds."""
    model.parents.copy_(unit(model.parents))
    model.atoms.copy_(unit(model.atoms))
    model.up.copy_(torch.linalg.qr(model.up.mT)[0].mT)


@torch.no_grad()
def project_gradients(model: Hierarchical) -> None:
    """Take from the gradients of parents and atoms what would only change their lengths, which `normalise` undoes."""
    for directions in (model.parents, model.atoms):
        if directions.grad is not None:
            along = (directions.grad * directions).sum(dim=-1, keepdim=True)
            directions.grad -= along * directions / directions.square().sum(dim=-1, keepdim=True)
