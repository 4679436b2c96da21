"""Fisher information of the next token, and the covariance of logits, without a matrix of vocabulary by vocabulary."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from stages.geometry.causal import FLOOR, CausalError, Metric


class LogitForm(NamedTuple):
    """How logits z (V,) come of u = Γ λ: z = c tanh(a (u + b) / c), and without a cap c z = a (u + b)."""

    bias: np.ndarray | float = 0.0
    """b, (V,) or one for all"""
    scale: float = 1.0
    """The factor a."""
    cap: float | None = None
    """The soft cap c."""

    def logits(self, u: np.ndarray) -> tuple[np.ndarray, np.ndarray | float]:
        """Return z and its slope dz/du, of ``u`` (..., V)."""
        z = self.scale * (u + self.bias)
        if self.cap is None:
            return z, self.scale
        saturation = np.tanh(z / self.cap)
        return self.cap * saturation, self.scale * (1 - saturation**2)


LINEAR = LogitForm()


def fisher_information(
    unembedding: np.ndarray, states: np.ndarray, rows_per_batch: int = 256, form: LogitForm = LINEAR
) -> np.ndarray:
    """Return F (d, d) = E_x Γ' C (diag p - p p') C Γ over contexts λ(x) (n, d), p = softmax(z), C = diag(dz/du), u = Γ λ.

    Γ (V, d); ``form`` says how logits z come of u, by default z = u. The curvature of KL(p_λ || p_λ+δ) = δ'Fδ / 2:
    how far a step in the final state changes the next token. Two sums make it: Γ' diag(mean C²p) Γ, and the second
    moment of Γ'Cp. Memory: rows_per_batch x V. In nats per squared unit of λ; raises CausalError on another width of
    contexts. Source: Amari 1998.
    """
    gamma = np.asarray(unembedding, np.float64)
    if states.ndim != 2 or not len(states) or states.shape[1] != gamma.shape[1]:
        raise CausalError(f"contexts of shape {states.shape}: expected (n, {gamma.shape[1]})")
    first, second = np.zeros(len(gamma)), np.zeros((gamma.shape[1],) * 2)
    for p, slope in _probabilities(gamma, states, rows_per_batch, form):
        p_slope = p * slope  # (rows, V)
        first += (p_slope * slope).sum(axis=0)
        expected = p_slope @ gamma  # (rows, d)
        second += expected.T @ expected
    return (gamma.T * (first / len(states))) @ gamma - second / len(states)


def _probabilities(
    gamma: np.ndarray, states: np.ndarray, rows: int, form: LogitForm
) -> Iterable[tuple[np.ndarray, np.ndarray | float]]:
    """Yield p (rows, V) and the slope of the logits, of successive batches of contexts."""
    for start in range(0, len(states), rows):
        logits, slope = form.logits(np.asarray(states[start : start + rows], np.float64) @ gamma.T)
        p = np.exp(logits - logits.max(axis=1, keepdims=True))
        yield p / p.sum(axis=1, keepdims=True), slope


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
