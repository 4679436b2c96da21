"""Fisher information of the next token, and the covariance of logits, without a matrix of vocabulary by vocabulary."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from stages.geometry.causal import FLOOR, CausalError, Metric


def fisher_information(unembedding: np.ndarray, states: np.ndarray, rows_per_batch: int = 256) -> np.ndarray:
    """Return F (d, d) = E_x Γ' (diag p - p p') Γ over contexts λ(x) (n, d), p = softmax(Γ λ), Γ (V, d).

    The curvature of KL(p_λ || p_λ+δ) = δ'Fδ / 2: how far a step in the final state changes the next token. Two sums
    make it: Γ' diag(mean p) Γ, and the second moment of Γ'p. Memory: rows_per_batch x V. In nats per squared unit of λ;
    raises CausalError on another width of contexts. Source: Amari 1998.
    """
    gamma = np.asarray(unembedding, np.float64)
    if states.ndim != 2 or not len(states) or states.shape[1] != gamma.shape[1]:
        raise CausalError(f"contexts of shape {states.shape}: expected (n, {gamma.shape[1]})")
    mean_p, second = np.zeros(len(gamma)), np.zeros((gamma.shape[1],) * 2)
    for p in _probabilities(gamma, states, rows_per_batch):
        mean_p += p.sum(axis=0)
        expected = p @ gamma  # (rows, d)
        second += expected.T @ expected
    return (gamma.T * (mean_p / len(states))) @ gamma - second / len(states)


def _probabilities(gamma: np.ndarray, states: np.ndarray, rows: int) -> Iterable[np.ndarray]:
    """Yield p (rows, V) of successive batches of contexts."""
    for start in range(0, len(states), rows):
        logits = np.asarray(states[start : start + rows], np.float64) @ gamma.T
        logits -= logits.max(axis=1, keepdims=True)
        p = np.exp(logits)
        yield p / p.sum(axis=1, keepdims=True)


def context_metric(unembedding: np.ndarray, form: np.ndarray, ridge: float = 0.0) -> Metric:
    """Return the metric in which contexts have the inner product λ' ``form`` λ and words its dual; words centred.

    ``form`` (d, d) takes the place of the words' covariance: the Fisher information, or the inverse covariance of
    contexts. The latter is at once that of logits at full rank: with L = Γ S Γ' the covariance of logits and Γ of full
    column rank, y'L⁺y = λ'S⁻¹λ of y = Γλ (V x V never appears). ``ridge`` is a share of the mean eigenvalue. Raises
    CausalError where the form is singular.
    """
    form = (form + form.T) / 2
    values, vectors = np.linalg.eigh(form + ridge * np.trace(form) / len(form) * np.eye(len(form)))
    if not values[0] > FLOOR * values[-1]:
        raise CausalError(
            f"the form is singular (eigenvalues {values[0]:.3g} to {values[-1]:.3g}): take more text, or a ridge"
        )
    root = (vectors * np.sqrt(values)) @ vectors.T
    inverse = (vectors / np.sqrt(values)) @ vectors.T
    return Metric(np.asarray(unembedding, np.float64).mean(axis=0), root, inverse)
