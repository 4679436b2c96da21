"""A hierarchical sparse autoencoder: a router over parents, and behind each parent a small dictionary of children in a
subspace of its own.

    p = ReLU(E (x - b) + e)                     parents' codes (n, P); the k largest stay, the others are 0
    z_i = S_i (x - b)                           coordinates (s,) in the subspace of a chosen parent i
    c_i = ReLU(C_i z_i + h_i)                   codes of its m children; the largest stays
    x̂ = b + Σ_i p_i D_i + c_ij U_i' A_ij        i over the chosen parents, j the child that stayed

Codes are real: a parent's code says how much of it there is. D (P, d) are the parents' vectors, U_i' A_ij (d,) that of
child j as a departure from its parent. Children are computed for chosen parents only: tokens are sorted by parent, and
parents of like load are computed together, so the cost grows with n k and hardly with P. Source: Muchane et al. 2025;
Park et al. 2025 for what children should be.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from stages.concepts.autoencoders.flat import unit


class Shape(NamedTuple):
    """The size of a hierarchical autoencoder."""

    d: int
    parents: int
    children: int
    """Children of each parent."""
    subspace: int
    """Dimensions in which the children of a parent lie."""
    k: int
    """Parents of a token."""


class Codes(NamedTuple):
    """The codes of n tokens, everything (n, k): entry t is of the t-th strongest parent."""

    parent: Tensor
    """Number of the parent."""
    strength: Tensor
    """The parent's p, 0 or more."""
    child: Tensor
    """Number of its child."""
    child_strength: Tensor
    """The child's c, 0 or more."""


class Reconstruction(NamedTuple):
    """The reconstruction of n states by a hierarchical autoencoder."""

    whole: Tensor
    """x̂ (n, d)."""
    top: Tensor
    """b + Σ p_i D_i (n, d): by the parents alone."""
    codes: Codes


class Hierarchical(nn.Module):
    """The autoencoder that the head of this module defines, its weights drawn with ``seed``.

    Raises ValueError on an impossible ``shape``.
    """

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
        """Return the reconstruction of ``x`` (n, d)."""
        n, k = len(x), self.shape.k
        # E (x - b) as E x - E b: no gradient through a centred copy of the batch, nor through its sorting.
        offset = self.router_bias - self.router @ self.bias  # (P,)
        strength, parent = torch.relu(x @ self.router.T + offset).topk(k, dim=-1)  # (n, k)
        codes = torch.zeros(n, self.shape.parents, dtype=x.dtype, device=x.device).scatter(-1, parent, strength)
        top = codes @ self.parents + self.bias
        active = (strength.flatten() > 0).to(x.dtype)  # a parent with code 0 has no children
        routing = _route(parent.flatten(), self.shape.parents)
        weights = (self.down, self.child_encoder, self.child_bias, self.atoms, self.up)
        # Sorted once and split: a gradient through `self.down[some]` would fill all of `down` with zeros each time.
        experts = zip(*(weight[routing.experts].split(routing.sizes) for weight in weights), strict=True)
        whole, children, strengths = top, [], []
        for entries, valid, expert in zip(routing.entries, routing.valid, experts, strict=True):
            token = entries // k  # (E, c)
            used = active[entries] * valid
            child, child_strength, departure = _children(x[token], used, self.bias, expert)
            whole = whole.index_add(0, token.flatten(), departure.flatten(0, 1))
            children.append(child[valid])
            strengths.append(child_strength[valid])
        back = routing.order.argsort()
        child, child_strength = (torch.cat(parts)[back].view(n, k) for parts in (children, strengths))
        return Reconstruction(whole, top, Codes(parent, strength, child, child_strength))

    def departures(self) -> Tensor:
        """Return U_i' A_ij of every child (P, m, d)."""
        return self.atoms @ self.up


class _Routing(NamedTuple):
    """The way of entries, each a token with one of its parents, to experts: those of like load lie side by side."""

    experts: Tensor
    """Experts with an entry, the busiest first."""
    sizes: list[int]
    """Number of experts in each group."""
    entries: list[Tensor]
    """The entries of each group (E, c): an expert's in a row, as many as the busiest has."""
    valid: list[Tensor]
    """Which of them are there (E, c); the others repeat one."""
    order: Tensor
    """All entries, in the order in which the groups take them."""


def _route(parent: Tensor, parents: int) -> _Routing:
    """Group the experts of entries (n k,), of which ``parent`` is each one's.

    A group ends where an expert has less than half of the load of its first: at most log n groups, twice the work.
    """
    counts = torch.bincount(parent, minlength=parents)
    experts = counts.argsort(descending=True, stable=True)[: int((counts > 0).sum())]
    load = counts[experts]
    order = torch.empty_like(counts).scatter(0, experts, torch.arange(len(experts), device=parent.device))[parent]
    order = order.argsort(stable=True)
    starts, sizes, entries, valid = load.cumsum(0) - load, [], [], []
    loads = load.tolist()
    first = 0
    while first < len(loads):
        last = next((i for i in range(first, len(loads)) if 2 * loads[i] < loads[first]), len(loads))
        place = torch.arange(loads[first], device=parent.device)
        present = place < load[first:last, None]
        index = torch.where(present, starts[first:last, None] + place, starts[first:last, None])
        sizes.append(last - first)
        entries.append(order[index])
        valid.append(present)
        first = last
    return _Routing(experts, sizes, entries, valid, order)


def _children(rows: Tensor, used: Tensor, centre: Tensor, weights: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """Return the best child (E, c), its code (E, c) and the departure (E, c, d) of tokens x (E, c, d) of E experts.

    ``centre`` is b (d,), ``weights`` are S, C, h, A and U of the experts. A token whose
    ``used`` (E, c) is 0 in place of 1 has none.
    """
    down, encoder, bias, atoms, up = weights
    coordinates = rows @ down.mT - (down @ centre)[:, None]  # (E, c, s)
    strength, child = torch.relu(coordinates @ encoder.mT + bias[:, None]).max(dim=-1)  # over (E, c, m)
    strength = strength * used
    chosen = atoms.gather(1, child[..., None].expand(*child.shape, atoms.shape[-1]))  # (E, c, s)
    return child, strength, (strength[..., None] * chosen) @ up


@torch.no_grad()
def normalise(model: Hierarchical) -> None:
    """Bring parents' vectors and atoms to length 1, make subspaces orthonormal: a code is the length of what it adds."""
    model.parents.copy_(unit(model.parents))
    model.atoms.copy_(unit(model.atoms))
    model.up.copy_(torch.linalg.qr(model.up.mT)[0].mT)


@torch.no_grad()
def project_gradients(model: Hierarchical) -> None:
    """Take from the gradients of parents and atoms what would only change their lengths, which `normalise` undoes."""
    for directions in (model.parents, model.atoms):
        if directions.grad is not None:
            radial = (directions.grad * directions).sum(dim=-1, keepdim=True)
            directions.grad -= radial * directions / directions.square().sum(dim=-1, keepdim=True)
