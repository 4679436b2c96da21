"""Distances put together in the plainest way, to hold those that stages compute term by term against."""

from __future__ import annotations

import numpy as np

from stages.geometry.transport import (
    EntropicTransport,
    ReasonedValue,
    common_epsilon,
    debiased_entropic,
    entropic_transport,
    exact_w2,
)


def sinkhorn_divergence(
    x: np.ndarray, y: np.ndarray, regularisation: float = 0.05, iterations: int = 10_000
) -> ReasonedValue:
    """Return S = OT_ε(X, Y) - (OT_ε(X, X) + OT_ε(Y, Y)) / 2, ε = ``regularisation`` x the median cost between X and Y."""
    epsilon = common_epsilon([x, y], regularisation)
    return debiased_entropic(*(entropic_transport(a, b, epsilon, iterations) for a, b in ((x, y), (x, x), (y, y))))


def entropic_plan(
    x: np.ndarray, y: np.ndarray, regularisation: float = 0.05, iterations: int = 10_000
) -> EntropicTransport:
    """Return the coupling behind OT_ε(X, Y), the first term of `sinkhorn_divergence`, and its value."""
    return entropic_transport(x, y, common_epsilon([x, y], regularisation), iterations)


def debiased_w2(x_a: np.ndarray, x_b: np.ndarray, y_a: np.ndarray, y_b: np.ndarray) -> float:
    """Return W2²(X_A, Y_B) - (W2²(X_A, X_B) + W2²(Y_A, Y_B)) / 2 of clouds (n, d), A and B disjoint halves of tokens.

    Between disjoint halves nothing is paired, so that all three terms carry the bias of n independent rows: centred on
    0 where X and Y have one distribution, and then as often negative as not. Unlike halves are refused, since their
    biases are not alike. Where distributions differ it takes away part of the bias only.
    """
    across = exact_w2(x_a, y_b).value ** 2
    return across - (exact_w2(x_a, x_b).value ** 2 + exact_w2(y_a, y_b).value ** 2) / 2
