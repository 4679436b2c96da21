"""The loss of a hierarchical sparse autoencoder: every term is a mean, so that weights keep their meaning.

Reconstruction and top-level terms are shares of the variance of ``x`` about its mean, 0 to about 1; the orthogonality
terms are mean squared cosines, 0 to 1. The causal term takes the inner product of contexts, λ'Σλ with Σ the covariance
of the unembedding (`geometry.causal`): decoder directions are what is added to a state. Euclidean ones take the
identity.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from stages.concepts.autoencoders.flat import unit
from stages.concepts.autoencoders.hierarchical import Hierarchical, Reconstruction


class Weights(NamedTuple):
    """Weights of the terms beside reconstruction, by the names of the terms."""

    top: float = 0.1
    sparsity: float = 1e-3
    cross: float = 0.1
    biorthogonal: float = 0.0
    causal: float = 0.0


def loss(
    model: Hierarchical, x: Tensor, reconstruction: Reconstruction, weights: Weights, metric: Tensor | None = None
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the weighted sum, and each term without its weight, for ``x`` (n, d) and its ``reconstruction``.

    ``metric`` Σ (d, d) is that of the causal term, which is left out without it. Raises ValueError where the sum is not
    finite, naming the terms, and where the causal term has a weight but no Σ.
    """
    if weights.causal and metric is None:
        raise ValueError(f"weight {weights.causal} of the causal term without Σ: give metric, or take cross")
    variance = (x - x.mean(dim=0)).square().sum()
    terms = {
        "reconstruction": (x - reconstruction.whole).square().sum() / variance,
        "top": (x - reconstruction.top).square().sum() / variance,
        "sparsity": (reconstruction.codes.strength.sum() + reconstruction.codes.child_strength.sum()) / len(x),
        "cross": orthogonality(model),
        "biorthogonal": biorthogonality(model),
        "causal": torch.zeros(()) if metric is None else orthogonality(model, metric),
    }
    total = terms["reconstruction"] + sum(getattr(weights, name) * terms[name] for name in Weights._fields)
    if not torch.isfinite(total):
        values = ", ".join(f"{name} {value.item():.3g}" for name, value in terms.items())
        raise ValueError(f"the loss is not finite ({values}): lower the learning rate, or check the activations")
    return total, terms


def orthogonality(model: Hierarchical, metric: Tensor | None = None) -> Tensor:
    """Return the mean over children of cos² between a parent's vector D_i and the departure U_i' A_ij of its child, in x'Σy.

    Hierarchical concepts have it at 0: a child's departure does not change its parent. Source: Park et al. 2025.
    """
    parents, departures = model.parents, model.departures()  # (P, d), (P, m, d)
    if metric is not None:
        root = torch.linalg.cholesky(metric)  # x'Σy = (L'x)'(L'y)
        parents, departures = parents @ root, departures @ root
    return torch.einsum("pd,pmd->pm", unit(parents), unit(departures)).square().mean()


def biorthogonality(model: Hierarchical) -> Tensor:
    """Return the mean square of E D' - I (P, P), rows of the router and of the parents: a parent is read where it is written only."""
    return (model.router @ model.parents.T - torch.eye(len(model.parents), device=model.parents.device)).square().mean()
