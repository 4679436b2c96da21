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
from stages.statistics.deviations import hadamard_deviations

Halves = Sequence[tuple[np.ndarray, np.ndarray]]
# Measures with standard errors and intervals over prompts.
WITH_INTERVAL: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "w2": lambda x, y: exact_w2(x, y).value,
    "identity_cost": identity_cost,
    "bures_w2": bures_w2,
}
# Pairs of disjoint halves behind a debiased distance.
CROSSED = 8


class EntropicTerms(NamedTuple):
    """Entropic transport between two clouds, and of each with itself, at one ε for all pairs that are compared."""

    cross: EntropicTransport
    self_x: EntropicTransport
    self_y: EntropicTransport


def entropic_terms(pairs: Sequence[tuple[np.ndarray, np.ndarray]], epsilon: float) -> Iterator[EntropicTerms]:
    """Yield the terms of all ``pairs`` of clouds (n, d), one after the other: one plan (n, n) is held at a time.

    The term of a cloud with itself is computed once, however many pairs it is in.
    """
    clouds = {id(cloud): cloud for pair in pairs for cloud in pair}
    self_terms = {key: entropic_transport(x, x, epsilon)._replace(plan=None) for key, x in clouds.items()}
    return (EntropicTerms(entropic_transport(x, y, epsilon), self_terms[id(x)], self_terms[id(y)]) for x, y in pairs)


def all_distances(x: np.ndarray, y: np.ndarray, terms: EntropicTerms, params: Drift) -> dict[str, ReasonedValue]:
    """Return every distance of ``x`` and ``y`` (n, d) in one basis, but for the Gromov-Wasserstein and the legacy one.

    Units: w2, sliced_w2, bures_w2 and mean distances those of the cloud; identity_cost and sinkhorn_divergence their
    squares.
    """
    exact = exact_w2(x, y)
    return (
        _transport_distances(x, y, exact.value, params)
        | {
            "sinkhorn_divergence": debiased_entropic(*terms),
            "cka_debiased": _number(_cka(x, y), "no dispersion left after debiasing"),
            "procrustes": _procrustes(x, y),
        }
        | _exact_plan(exact.plan, equal_tokens(x, y))
        | _entropic_plan(terms.cross)
        | {name: _number(value) for name, value in mean_distances(x, y)._asdict().items()}
    )


def transport_distances(x: np.ndarray, y: np.ndarray, params: Drift) -> dict[str, ReasonedValue]:
    """Return the distances that every basis is given: exact, Gaussian and sliced, the identity's cost and the ratio."""
    return _transport_distances(x, y, exact_w2(x, y).value, params)


def gromov_distance(x: np.ndarray, y: np.ndarray, rows: int, seed: int) -> ReasonedValue:
    """Return `gromov_wasserstein` of ``rows`` of the tokens, drawn by ``seed`` without replacement; of all if fewer."""
    drawn = np.random.default_rng(seed).permutation(len(x))[:rows]
    return _number(gromov_wasserstein(x[drawn], y[drawn], seed=seed).value)


def legacy_distance(x: np.ndarray, y: np.ndarray, components: int) -> ReasonedValue:
    """Return the prior study's distance of clouds in residual space; for comparison only."""
    try:
        return _number(legacy_transport(x, y, min(components, *x.shape)))
    except TransportError as error:  # tokens at the centre of all have no direction from there
        return ReasonedValue(float("nan"), str(error))


def half_deviations(x: np.ndarray, y: np.ndarray, halves: Halves) -> dict[str, np.ndarray]:
    """Return the deviations (len(halves),) of each measure of `WITH_INTERVAL`, see `deviations.hadamard_deviations`."""
    return {
        name: hadamard_deviations(np.array([distance(x[rows], y[rows]) for pair in halves for rows in pair]))
        for name, distance in WITH_INTERVAL.items()
    }


def squared_w2_of_halves(x: np.ndarray, halves: Halves) -> np.ndarray:
    """Return W2² (CROSSED,) between disjoint halves of one cloud: what other tokens alone would make of it."""
    return np.array([exact_w2(*_disjoint(x, x, pair)).value ** 2 for pair in halves[:CROSSED]])


def debiased_squared_w2(
    x: np.ndarray, y: np.ndarray, halves: Halves, halves_of_x: np.ndarray, halves_of_y: np.ndarray
) -> float:
    """Return the mean of W2²(X_A, Y_B) - (W2²(X_A, X_B) + W2²(Y_A, Y_B)) / 2 over CROSSED pairs of halves A, B.

    ``halves_of_x`` and ``halves_of_y`` are `squared_w2_of_halves` of the two clouds. Between disjoint halves
    nothing is paired, so that all three terms carry the bias of n independent rows: centred on 0 where X and Y have one
    distribution, and then as often negative as not. Where distributions differ it takes away part of the bias only.
    """
    across = np.array([exact_w2(*_disjoint(x, y, pair)).value ** 2 for pair in halves[:CROSSED]])
    return float((across - (halves_of_x + halves_of_y) / 2).mean())


def _transport_distances(x: np.ndarray, y: np.ndarray, w2: float, params: Drift) -> dict[str, ReasonedValue]:
    cost = identity_cost(x, y)
    return {
        "w2": _number(w2),
        "identity_cost": _number(cost),
        "identity_ratio": identity_ratio(w2, cost),
        "bures_w2": _number(bures_w2(x, y)),
        "sliced_w2": _number(sliced_w2(x, y, params.projections, params.seed)),
    }


def _exact_plan(plan: np.ndarray, equal: np.ndarray) -> dict[str, ReasonedValue]:
    """Return the diagnostics of an exact plan (n, n); ``equal`` (n, n) marks pairs of equal tokens."""
    shape = diagnose(plan)
    return {
        "exact_plan_density": _number(shape.density),
        "exact_plan_concentration": _number(shape.concentration),
        "exact_plan_one_to_one": _number(shape.one_to_one),
        "exact_plan_identity_share": _number(plan[equal].sum()),
        "exact_plan_identity_chance": _number(equal.mean()),
    }


def _entropic_plan(entropic: EntropicTransport) -> dict[str, ReasonedValue]:
    """Return the diagnostics of an entropic plan; without a plan they are missing, with the reason."""
    shape = {} if entropic.plan is None else diagnose(entropic.plan)._asdict()
    diagnostics = {
        "entropic_plan_density": "density",
        "entropic_plan_concentration": "concentration",
        "entropic_plan_identity_share": "identity_share",
        "entropic_plan_one_to_one": "one_to_one",
        "entropic_plan_entropy": "entropy",
    }
    return {name: ReasonedValue(shape.get(field, float("nan")), entropic.reason) for name, field in diagnostics.items()}


def _cka(x: np.ndarray, y: np.ndarray) -> float | np.ndarray:
    """Return debiased linear CKA; of rows wider than they are many by their inner products, the same at less cost."""
    if len(x) > x.shape[1]:
        return debiased_cka(x, y)
    return kernel_cka(*(_linear_kernel(z) for z in (x, y)))


def _linear_kernel(x: np.ndarray) -> np.ndarray:
    """Return the inner products (n, n) of the centred rows of ``x`` (n, d), with a zero diagonal."""
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
    """Return ``x`` on one half and ``y`` on the other, of equal size: where tokens are masked a half may hold more."""
    half, complement = pair
    size = min(len(half), len(complement))
    return x[half[:size]], y[complement[:size]]


def _number(value: float | np.ndarray, reason: str = "") -> ReasonedValue:
    value = float(value)
    return ReasonedValue(value, "" if np.isfinite(value) else reason)
