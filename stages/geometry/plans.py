"""Diagnostics of a transport plan P (n, n) between tokens: its sums are 1/n, row i and column i are one token.

An optimal plan without entropy between n and n equal weights is a permutation / n (Birkhoff 1946): its density is 1/n,
its concentration 1 and all its rows one-to-one, whatever the clouds. Of such plans the identity share alone informs;
the rest tells entropic plans apart, or says that a plan is not a vertex. Raises PlanError on another shape, on negative
entries and on other marginals.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

# Most mass that rows, or columns, may hold beyond or below 1/n, in all.
MARGINAL_TOLERANCE = 1e-3
# Squared distance, as a share of the squared length, below which two rows are equal: float32 rounds to 1e-14.
EQUAL = 1e-10
# An entry below this share of a row's mass is rounding.
EMPTY = 1e-9


class PlanError(ValueError):
    """A matrix is no coupling of uniform weights; the message says what was found and what was expected."""


class PlanDiagnostics(NamedTuple):
    """The diagnostics of a plan P (n, n), without unit."""

    density: float
    """share of entries above 0: 1/n for a permutation to 1; 1 - it is the prior system's sparsity"""
    concentration: float
    """mean over rows of the share of the row's mass on its largest entry: 1/n for the product to 1 for a permutation"""
    identity_share: float
    """mass on the diagonal: 0 to 1, 1 / n by chance; see `equal_tokens`"""
    one_to_one: float
    """share of rows with a single partner whose single partner they are: 1 for a permutation"""
    entropy: float
    """(H - ln n) / (ln n² - ln n), H = -Σ P ln P: 0 for a permutation, 1 for the product coupling"""


def diagnose(plan: np.ndarray) -> PlanDiagnostics:
    """Return the `PlanDiagnostics` of ``plan`` (n, n).

    Invariant to one order of rows and columns, all but the identity share to any two. Raises PlanError as the module.
    """
    plan = _checked(plan)
    n = len(plan)
    present = plan > EMPTY / n  # (n, n)
    return PlanDiagnostics(
        float(present.mean()),
        float((plan.max(axis=1) / plan.sum(axis=1)).mean()),
        float(np.trace(plan)),
        _single_partner_share(present),
        _relative_entropy(plan),
    )


def equal_tokens(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return whether rows i and j of ``x`` (n, d), or of ``y``, are equal up to rounding: (n, n) bool.

    These are the diagonal and its ties. Tokens with the same past have the same activations, and an optimal plan may
    trade them at no cost: its mass on these pairs is its share on the identity coupling whatever it does among equals.
    Its chance is their mean.
    """
    is_equal = np.eye(len(x), dtype=bool)
    for cloud in (np.asarray(x, np.float64), np.asarray(y, np.float64)):
        squares = np.einsum("nd,nd->n", cloud, cloud)
        distances = squares[:, None] + squares - 2 * cloud @ cloud.T  # (n, n), squared
        is_equal |= distances <= EQUAL * np.maximum(squares[:, None], squares)
    return is_equal


def _single_partner_share(present: np.ndarray) -> float:
    alone = (present.sum(axis=1, keepdims=True) == 1) & (present.sum(axis=0) == 1)  # (n, n) row and column alike
    return float((present & alone).any(axis=1).mean())


def _relative_entropy(plan: np.ndarray) -> float:
    n = len(plan)
    held = plan[plan > 0]
    return float(-(held * np.log(held)).sum() / np.log(n) - 1)


def _checked(plan: np.ndarray) -> np.ndarray:
    plan = np.asarray(plan, np.float64)
    if plan.ndim != 2 or plan.shape[0] != plan.shape[1] or len(plan) < 2:
        raise PlanError(f"a plan of shape {plan.shape}: expected (n, n), n of 2 or more")
    if not (plan >= 0).all():  # false for NaN
        raise PlanError(
            f"{int((~(plan >= 0)).sum())} entries of the plan are negative or NaN: expected masses of 0 or more"
        )
    for name, axis in (("rows", 1), ("columns", 0)):
        misplaced = float(np.abs(plan.sum(axis=axis) - 1 / len(plan)).sum())
        if not misplaced <= MARGINAL_TOLERANCE:
            raise PlanError(f"{name} of the plan misplace {misplaced:.1e} of the mass: expected sums of 1/n each")
    return plan
