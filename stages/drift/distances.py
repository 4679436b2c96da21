"""Every distance between two clouds of the same tokens, by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from stages.drift.params import Drift
from stages.geometry.plans import diagnose, equal_tokens
from stages.geometry.similarity import debiased_cka, kernel_cka, procrustes_distance
from stages.geometry.transport import (
    EntropicTransport,
    ReasonedValue,
    TransportError,
    bures_w2,
    debiased_entropic,
    entropic_transport,
    exact_w2,
    gromov_wasserstein,
    identity_cost,
    identity_ratio,
    legacy_transport,
    mean_distances,
    sliced_w2,
)
from stages.statistics.balanced import half_differences

Halves = Sequence[tuple[np.ndarray, np.ndarray]]
WITH_INTERVAL = ("w2", "identity_cost", "bures_w2")
CROSSED = 8
"""Pairs of disjoint halves behind a debiased distance."""


class Terms(NamedTuple):
    """Entropic transport between two clouds, and of each with itself, at one ε for all pairs that are set side by side."""

    between: EntropicTransport
    within_x: EntropicTransport
    within_y: EntropicTransport


def entropic_terms(pairs: Sequence[tuple[np.ndarray, np.ndarray]], epsilon: float) -> Iterator[Terms]:
    """Of all ``pairs`` of clouds (n, d), one after the other: of their plans (n, n) only one is held.

    The term of a cloud with itself is computed once, however many pairs it is in.
    """
    clouds = {id(cloud): cloud for pair in pairs for cloud in pair}
    own = {key: entropic_transport(x, x, epsilon)._replace(plan=None) for key, x in clouds.items()}
    return (Terms(entropic_transport(x, y, epsilon), own[id(x)], own[id(y)]) for x, y in pairs)


def distances(x: np.ndarray, y: np.ndarray, terms: Terms, params: Drift) -> dict[str, ReasonedValue]:
    """All of them, of ``x`` and ``y`` (n, d) in one basis. Units: w2, sliced_w2, bures_w2 and mean distances those of
    the cloud; identity_cost and sinkhorn_divergence their squares."""
    exact = exact_w2(x, y)
    entropic = terms.between
    plan = diagnose(entropic.plan)._asdict() if entropic.plan is not None else dict.fromkeys(_PLAN, float("nan"))
    shape, equal = diagnose(exact.plan), equal_tokens(x, y)
    return (
        _transport(x, y, exact.value, params)
        | {
            "sinkhorn_divergence": debiased_entropic(*terms),
            "cka_debiased": _number(_cka(x, y), "no dispersion left after debiasing"),
            "procrustes": _procrustes(x, y),
            **{f"exact_plan_{name}": _number(getattr(shape, name)) for name in _SHAPE},
            "exact_plan_identity_share": _number(exact.plan[equal].sum()),
            "exact_plan_identity_chance": _number(equal.mean()),
            **{f"entropic_plan_{name}": ReasonedValue(plan[name], entropic.reason) for name in _PLAN},
        }
        | {name: _number(value) for name, value in mean_distances(x, y)._asdict().items()}
    )


def transport(x: np.ndarray, y: np.ndarray, params: Drift) -> dict[str, ReasonedValue]:
    """Those that every basis is given: exact, Gaussian and sliced, the identity's cost and the ratio to it."""
    return _transport(x, y, exact_w2(x, y).value, params)


def gromov(x: np.ndarray, y: np.ndarray, rows: int, seed: int) -> ReasonedValue:
    """`gromov_wasserstein` of ``rows`` of the tokens, drawn by ``seed`` without replacement; of all if there are fewer."""
    drawn = np.random.default_rng(seed).permutation(len(x))[:rows]
    return _number(gromov_wasserstein(x[drawn], y[drawn], seed=seed).value)


def legacy(x: np.ndarray, y: np.ndarray, components: int) -> ReasonedValue:
    """The prior study's, of clouds in residual space; for comparison only."""
    try:
        return _number(legacy_transport(x, y, min(components, *x.shape)))
    except TransportError as error:  # tokens at the centre of all have no direction from there
        return ReasonedValue(float("nan"), str(error))


def deviations(x: np.ndarray, y: np.ndarray, halves: Halves) -> dict[str, np.ndarray]:
    """(len(halves),) for each measure of `WITH_INTERVAL`, as `balanced.half_differences` has them."""
    measure: dict[str, Callable] = {
        "w2": lambda a, b: exact_w2(a, b).value, "identity_cost": identity_cost, "bures_w2": bures_w2
    }  # fmt: skip
    return {
        name: half_differences(np.array([measure[name](x[rows], y[rows]) for pair in halves for rows in pair]))
        for name in WITH_INTERVAL
    }


def within(x: np.ndarray, halves: Halves) -> np.ndarray:
    """W2² (CROSSED,) between disjoint halves of one cloud: what other tokens alone would make of it."""
    return np.array([exact_w2(*_disjoint(x, x, pair)).value ** 2 for pair in halves[:CROSSED]])


def debiased(x: np.ndarray, y: np.ndarray, halves: Halves, within_x: np.ndarray, within_y: np.ndarray) -> float:
    """Mean of W2²(X_A, Y_B) - (W2²(X_A, X_B) + W2²(Y_A, Y_B)) / 2 over CROSSED pairs of halves; see `debiased_w2`."""
    across = np.array([exact_w2(*_disjoint(x, y, pair)).value ** 2 for pair in halves[:CROSSED]])
    return float((across - (within_x + within_y) / 2).mean())


_SHAPE = ("density", "concentration", "one_to_one")
_PLAN = ("density", "concentration", "identity_share", "one_to_one", "entropy")


def _transport(x: np.ndarray, y: np.ndarray, w2: float, params: Drift) -> dict[str, ReasonedValue]:
    cost = identity_cost(x, y)
    return {
        "w2": _number(w2),
        "identity_cost": _number(cost),
        "identity_ratio": identity_ratio(w2, cost),
        "bures_w2": _number(bures_w2(x, y)),
        "sliced_w2": _number(sliced_w2(x, y, params.projections, params.seed)),
    }


def _cka(x: np.ndarray, y: np.ndarray) -> float | np.ndarray:
    """Debiased linear CKA; of rows wider than they are many by their inner products, the same at a fraction of the time."""
    if len(x) > x.shape[1]:
        return debiased_cka(x, y)
    return kernel_cka(*(_linear_kernel(z) for z in (x, y)))


def _linear_kernel(x: np.ndarray) -> np.ndarray:
    """(n, n) inner products of the centred rows of ``x`` (n, d), with a zero diagonal."""
    centred = x - x.mean(axis=0)
    kernel = centred @ centred.T
    np.fill_diagonal(kernel, 0.0)
    return kernel


def _procrustes(x: np.ndarray, y: np.ndarray) -> ReasonedValue:
    try:
        return _number(procrustes_distance(x, y))
    except ValueError as error:  # a cloud without extent
        return ReasonedValue(float("nan"), str(error))


def _disjoint(x: np.ndarray, y: np.ndarray, pair: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """``x`` on one half and ``y`` on the other, of equal size: where tokens are masked a half may hold more of them."""
    one, other = pair
    size = min(len(one), len(other))
    return x[one[:size]], y[other[:size]]


def _number(value: float | np.ndarray, reason: str = "") -> ReasonedValue:
    value = float(value)
    return ReasonedValue(value, "" if np.isfinite(value) else reason)
