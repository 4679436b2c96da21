"""Optimal transport: how far a cloud of tokens moves between two layers or two models.

Clouds X, Y are (n, d), row i of both the same token; every row weighs 1/n; the cost is the squared Euclidean distance
unless said otherwise. All numbers in float64. Every estimate from n rows is biased upwards, in high dimension by most
of its value: two samples of N(0, I_256) of 1319 rows have W2² = 410 of at most 512. Take few dimensions (`shared_pca`),
read a distance next to one between disjoint halves, next to `sliced_w2` and `bures_w2`, which are less biased, and next
to `identity_cost`, since rows are paired. Compare equal n only, and never rows drawn with replacement: copies are
matched for nothing.

Two bases make coordinates incomparable: compare clouds in one basis (`raw`, `unit_norm`, `shared_pca`) or through
`gromov_wasserstein`, which reads distances inside each cloud. Raises TransportError on shapes that do not fit and on
values that are not finite. Source: Peyré & Cuturi 2019. Needs the package POT, imported where it is used.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from stages.geometry.linear_algebra import triangular_factor
from stages.geometry.similarity import squared_distances
from stages.geometry.spectrum import factorise

# Most distances, or coordinates, held at a time: 32 MiB.
BLOCK = 2**22
# Most mass that an entropic plan may misplace; its value is off by at most that share of the largest cost.
MARGINAL_TOLERANCE = 1e-4
# Largest cost over ε of a kernel: exp(-745) is 0 in float64.
UNDERFLOW = 500


class TransportError(ValueError):
    """Clouds cannot be transported; the message says what was found, what was expected and the fix."""


class ReasonedValue(NamedTuple):
    """A number, or NaN and why there is none."""

    value: float
    reason: str = ""


class ExactTransport(NamedTuple):
    """An optimal coupling and its distance."""

    value: float
    """W2, in units of the activations"""
    plan: np.ndarray
    """(n, n), rows and columns sum to 1/n"""


class EntropicTransport(NamedTuple):
    """An entropic coupling and its cost, or NaN and why there is none."""

    value: float
    """OT_ε, in squared units"""
    plan: np.ndarray | None
    """(n, n), rows and columns sum to 1/n within `MARGINAL_TOLERANCE` in all"""
    reason: str = ""


class GromovTransport(NamedTuple):
    """The best coupling that a search gave of the distances inside two clouds."""

    value: float
    """GW, in units of the activations; from above, since the problem is not convex"""
    plan: np.ndarray
    """(n, n), rows and columns sum to 1/n"""
    start: str
    """identity, product or the number of the permutation that the search started from"""


class MeanDistances(NamedTuple):
    """The mean distances over the n paired rows, and over all n² pairs of a row of X and a row of Y."""

    paired_euclidean: float
    paired_cosine: float
    """mean of 1 - cosine, 0 to 2"""
    paired_manhattan: float
    all_squared_euclidean: float
    all_euclidean: float
    all_cosine: float
    all_manhattan: float


def exact_w2(x: np.ndarray, y: np.ndarray, iterations: int = 10_000_000) -> ExactTransport:
    """Return W2 = min over couplings P of (Σ P_ij |x_i - y_j|²)^½ of ``x``, ``y`` (n, d), by the network simplex.

    With equal weights an optimal P is a permutation / n. Invariant to a common rotation and translation; scales with a
    common factor. Raises TransportError where ``iterations`` pivots are too few. Time grows about with n³.
    Source: Bonneel et al. 2011.
    """
    from ot import emd

    x, y = _pair(x, y)
    weights = np.full(len(x), 1 / len(x))
    plan, log = emd(weights, weights, _costs(x, y), numItermax=iterations, log=True)
    if log["warning"] is not None:
        raise TransportError(
            f"no optimal plan of n = {len(x)} rows within {iterations} iterations ({log['warning']}): raise iterations or take fewer rows"
        )
    rows, columns = np.nonzero(plan)
    # of differences: the costs, of inner products, are not zero for equal rows
    cost = plan[rows, columns] @ _squares(x[rows] - y[columns])
    return ExactTransport(float(np.sqrt(cost)), plan)


def common_epsilon(clouds: Sequence[np.ndarray], regularisation: float = 0.05) -> float:
    """Return ``regularisation`` x the median of the median costs between neighbours in ``clouds`` (n, d) each.

    In squared units. One ε for many pairs makes their divergences comparable, and the term of a cloud with itself one
    for all its pairs. Raises TransportError unless ``regularisation`` is above 0.
    """
    medians = [_share_of_median(_costs(*_pair(x, y)), regularisation) for x, y in pairwise(clouds)]
    return float(np.median(medians))


def entropic_transport(x: np.ndarray, y: np.ndarray, epsilon: float, iterations: int = 10_000) -> EntropicTransport:
    """Return OT_ε of ``x`` and ``y`` (n, d) and its plan, at a given ``epsilon`` in squared units.

    OT_ε = min over couplings P of Σ P_ij C_ij + ε KL(P | 1/n²): biased, above 0 for X = Y (`debiased_entropic`).
    Invariant to a common rotation and translation. In the log domain. NaN with a reason, and no plan, where ``epsilon``
    is 0 and where, after ``iterations``, the plan misplaces more than `MARGINAL_TOLERANCE` of the mass. Source: Cuturi
    2013.
    """
    return _entropic(_costs(*_pair(x, y)), epsilon, iterations)


def debiased_entropic(cross: EntropicTransport, self_x: EntropicTransport, self_y: EntropicTransport) -> ReasonedValue:
    """Return the Sinkhorn divergence OT_ε(X, Y) - (OT_ε(X, X) + OT_ε(Y, Y)) / 2 of three terms at one ε, squared units.

    Never negative and 0 for X = Y, where OT_ε alone is not; W2² as ε goes to 0, |mean difference|² as it grows. NaN,
    with the reason, where a term did not converge. Source: Feydy et al. 2019.
    """
    if failed := [term.reason for term in (cross, self_x, self_y) if term.reason]:
        return ReasonedValue(float("nan"), failed[0])
    return ReasonedValue(cross.value - (self_x.value + self_y.value) / 2)


def sliced_w2(x: np.ndarray, y: np.ndarray, projections: int, seed: int) -> float:
    """Return (mean over directions θ of W2² of X θ and Y θ)^½ of ``x`` and ``y`` (n, d), θ uniform on the sphere.

    On a line the optimal coupling sorts. At most W2 / √d, but for the draw of θ. Invariant to a common translation and,
    but for that draw, to a common rotation; scales with a common factor. One ``seed`` draws the same directions for all
    clouds of the same d. Source: Rabin et al. 2012.
    """
    x, y = _pair(x, y)
    directions = np.random.default_rng(seed).standard_normal((x.shape[1], projections))  # (d, p)
    directions /= np.linalg.norm(directions, axis=0)
    squares = [
        np.square(np.sort(x @ part, axis=0) - np.sort(y @ part, axis=0)).mean(axis=0)  # (part,)
        for part in _column_blocks(directions, len(x))
    ]
    return float(np.sqrt(np.concatenate(squares).mean()))


def bures_w2(x: np.ndarray, y: np.ndarray) -> float:
    """Return W2 of the Gaussians with the means and covariances A, B (divided by n) of ``x`` and ``y`` (n, d).

    (|m1 - m2|² + tr(A + B - 2 (A^½ B A^½)^½))^½, at most W2 of the clouds (Gelbrich 1990). The trace is min over
    orthogonal Q of |F - Q G|² for any factors F'F = A, G'G = B; it is taken at that Q, the polar factor of F G', so
    that no digits cancel for near clouds. Factors are the rows, or their triangular factor where n > d: n < d is no
    special case. Invariant to a common rotation and translation; scales with a common factor. Source: Bhatia, Jain &
    Lim 2019.
    """
    x, y = _pair(x, y)
    first, second = (_factor(z - z.mean(axis=0)) for z in (x, y))  # (m, d), m = min(n, d)
    left, _, right = np.linalg.svd(first @ second.T)
    spread = np.square(first - left @ right @ second).sum() / len(x)
    return float(np.sqrt(np.square(x.mean(axis=0) - y.mean(axis=0)).sum() + spread))


def gromov_wasserstein(x: np.ndarray, y: np.ndarray, permutations: int = 3, seed: int = 0) -> GromovTransport:
    """Return GW = min over couplings P of (Σ (|x_i - x_k| - |y_j - y_l|)² P_ij P_kl)^½ of ``x`` (n, d), ``y`` (n, e).

    Euclidean distances inside each cloud: invariant to rotation and translation of either side, also between unlike
    widths; scales with a common factor. Not convex: the best of conditional gradients from the identity coupling, the
    product coupling and ``permutations`` drawn by ``seed``; never above the identity's value. Without the pairing it is
    a loose bound: 500 tokens that lie .26 apart in their order were found .37 apart once shuffled. Time grows with n³
    per step: some hundred rows. Source: Mémoli 2011; Peyré, Cuturi & Solomon 2016.
    """
    x, y = _cloud(x), _cloud(y)
    if len(x) != len(y):
        raise TransportError(f"clouds of {len(x)} and {len(y)} rows: expected the same tokens in both")
    inside = [np.sqrt(squared_distances(z)) for z in (x, y)]  # (n, n) each
    minima = [(*_descend(*inside, start), name) for name, start in _starts(len(x), permutations, seed)]
    squared, plan, name = min(minima, key=lambda minimum: minimum[0])
    return GromovTransport(float(np.sqrt(squared.clip(0))), plan, name)


def identity_cost(x: np.ndarray, y: np.ndarray) -> float:
    """Return the mean squared distance of paired rows of ``x``, ``y`` (n, d), the cost of the identity, >= W2²."""
    x, y = _pair(x, y)
    return float(_squares(x - y).mean())


def identity_ratio(w2: float, cost: float) -> ReasonedValue:
    """Return ``w2``² / ``cost`` of `identity_cost`: 1 where the identity is optimal, 0 where tokens trade places."""
    if cost == 0:
        return ReasonedValue(float("nan"), "both clouds are the same, row by row: 0 / 0")
    return ReasonedValue(w2**2 / cost)


def mean_distances(x: np.ndarray, y: np.ndarray) -> MeanDistances:
    """Return mean distances between the rows of ``x`` and ``y`` (n, d), paired and over all pairs.

    No matrix (n, n) is held. Over all pairs in closed form: squared Euclidean |m1 - m2|² + tr A + tr B, cosine 1 - u.v
    of the mean unit rows, Manhattan by sorting each dimension; Euclidean in blocks of rows, O(n² d). Raises
    TransportError on rows of zeros.
    """
    x, y = _pair(x, y)
    u, v = unit_norm(x), unit_norm(y)
    moved = x - y  # (n, d)
    means = x.mean(axis=0), y.mean(axis=0)
    spread = _squares(x - means[0]).mean() + _squares(y - means[1]).mean()
    return MeanDistances(
        float(np.sqrt(_squares(moved)).mean()),
        float(_squares(u - v).mean() / 2),  # |u - v|² = 2 - 2 u.v, without cancelling
        float(np.abs(moved).sum(axis=1).mean()),
        float(np.square(means[0] - means[1]).sum() + spread),
        _mean_euclidean(x, y),
        float(1 - u.mean(axis=0) @ v.mean(axis=0)),
        _mean_manhattan(x, y),
    )


def raw(x: np.ndarray) -> np.ndarray:
    """Return ``x`` (n, d) as it is, in float64: the residual stream has one basis for all layers."""
    return _cloud(x)


def unit_norm(x: np.ndarray) -> np.ndarray:
    """Return the rows of ``x`` (n, d) divided by their Euclidean norm. Raises TransportError on rows of zeros."""
    x = _cloud(x)
    norms = np.linalg.norm(x, axis=1, keepdims=True)
    if zeros := int((norms == 0).sum()):
        raise TransportError(f"{zeros} of {len(x)} rows are zero: expected directions; drop these tokens")
    return x / norms


def shared_pca(clouds: Sequence[np.ndarray], k: int) -> list[np.ndarray]:
    """Return ``clouds`` (n, d) each, in the ``k`` leading principal directions of all their rows together: (n, k) each.

    One mean and one basis for all: distances in it are distances of projections, at most those of the clouds; the
    translation between clouds is kept. Raises SpectrumError where k exceeds the rank that all rows allow.
    """
    clouds = [_cloud(x) for x in clouds]
    if len(widths := {x.shape[1] for x in clouds}) != 1:
        raise TransportError(
            f"clouds of widths {sorted(widths)}: expected one width; compare these by gromov_wasserstein"
        )
    rows = np.concatenate(clouds)
    basis, mean = factorise(rows, centred=True, k=k).basis, rows.mean(axis=0)
    return [(x - mean) @ basis for x in clouds]


def legacy_per_layer_pca(x: np.ndarray, y: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Return ``x`` and ``y`` (n, d), each in the ``k`` directions of its own PCA, then rows of unit norm: (n, k) each.

    The prior system's step before transport, for comparison with its numbers only: order, sign and rotation of the axes
    differ between the two, so that a cloud is far from its own rotation, and the means are lost.
    """
    from sklearn.decomposition import PCA

    x, y = _pair(x, y)
    if k > min(x.shape):
        raise TransportError(f"k = {k} components of a cloud of shape {x.shape}: expected at most {min(x.shape)}")
    first, second = (unit_norm(PCA(k, svd_solver="full").fit_transform(z)) for z in (x, y))
    return first, second


def legacy_transport(
    x: np.ndarray, y: np.ndarray, k: int, regularisation: float = 0.1, iterations: int = 1000
) -> float:
    """Return <P, C> of the entropic plan of ``x`` and ``y`` (n, d) after `legacy_per_layer_pca`, squared costs: 0 to 4.

    The prior system's distance, for comparison with its numbers only: neither debiased nor tested for convergence,
    above 0 for X = Y and about as large for a cloud and its rotation as for unrelated clouds.
    """
    from ot.bregman import sinkhorn_knopp

    first, second = legacy_per_layer_pca(x, y, k)
    weights, costs = np.full(len(first), 1 / len(first)), _costs(first, second)
    plan = sinkhorn_knopp(weights, weights, costs, regularisation, numItermax=iterations, warn=False)
    return float((plan * costs).sum())


def _cloud(x: np.ndarray) -> np.ndarray:
    x = np.asarray(x, np.float64)
    if x.ndim != 2 or len(x) < 2 or x.shape[1] < 1:
        raise TransportError(f"a cloud of shape {x.shape}: expected (n, d), a row per token and at least 2 rows")
    if bad := int((~np.isfinite(x)).any(axis=1).sum()):
        raise TransportError(f"{bad} of {len(x)} rows hold NaN or infinity: expected finite values; drop these tokens")
    return x


def _pair(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    x, y = _cloud(x), _cloud(y)
    if x.shape != y.shape:
        raise TransportError(f"clouds of shapes {x.shape} and {y.shape}: expected one shape, the same tokens in both")
    return x, y


def _squares(x: np.ndarray) -> np.ndarray:
    """Return the squared norm of each row."""
    return np.einsum("nd,nd->n", x, x)


def _costs(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return squared distances (n, m), from inner products about the common mean, for the digits' sake."""
    mean = (x.mean(axis=0) + y.mean(axis=0)) / 2
    x, y = x - mean, y - mean
    return (_squares(x)[:, None] + _squares(y) - 2 * x @ y.T).clip(0)


def _sinkhorn(costs: np.ndarray, epsilon: float, **stop: float) -> tuple[np.ndarray, float]:
    """Return the plan (n, n) and the sum of the mean potentials, in units of ``epsilon``.

    The scalings in the log domain; absorbed into the kernel now and then, with the same iterates 15 times faster,
    unless a massive row would leave that kernel without a number above 0.
    """
    from ot.bregman import sinkhorn_log, sinkhorn_stabilized

    weights = np.full(len(costs), 1 / len(costs))
    if costs.max() < UNDERFLOW * epsilon:
        plan, log = sinkhorn_stabilized(weights, weights, costs, epsilon, print_period=50, log=True, warn=False, **stop)
        return plan, float(log["logu"].mean() + log["logv"].mean())
    with np.errstate(over="ignore"):  # in the scalings that the library returns next to their logarithms
        plan, log = sinkhorn_log(weights, weights, costs, epsilon, log=True, warn=False, **stop)
    return plan, float(log["log_u"].mean() + log["log_v"].mean())


def _share_of_median(costs: np.ndarray, regularisation: float) -> float:
    if not regularisation > 0:
        raise TransportError(f"regularisation {regularisation}: expected above 0, as a share of the median cost")
    return regularisation * float(np.median(costs))


def _entropic(costs: np.ndarray, epsilon: float, iterations: int) -> EntropicTransport:
    """Return OT_ε of ``costs`` (n, n), from its dual."""
    if not epsilon > 0:
        return EntropicTransport(float("nan"), None, "the median cost is 0: most rows coincide")
    n = len(costs)
    weights = np.full(n, 1 / n)
    # The library's threshold is for the Euclidean norm: the sum is at most √n times it.
    threshold = MARGINAL_TOLERANCE / np.sqrt(n)
    plan, potential = _sinkhorn(costs, epsilon, numItermax=iterations, stopThr=threshold)
    misplaced = max(float(np.abs(plan.sum(axis=axis) - weights).sum()) for axis in (0, 1))
    if not misplaced <= MARGINAL_TOLERANCE:
        reason = f"Sinkhorn misplaces {misplaced:.1e} of the mass after {iterations} iterations, above {MARGINAL_TOLERANCE:g}: raise iterations or the regularisation"
        return EntropicTransport(float("nan"), None, reason)
    return EntropicTransport(float(epsilon * (potential + 2 * np.log(n))), plan)


def _factor(centred: np.ndarray) -> np.ndarray:
    """Return F (min(n, d), d) with F'F = x'x."""
    n, d = centred.shape
    return triangular_factor(centred) if n > d else centred


def _column_blocks(x: np.ndarray, rows: int) -> list[np.ndarray]:
    """Return ``x`` in blocks of so few columns that a matrix of ``rows`` rows and these columns is within `BLOCK`."""
    step = max(1, BLOCK // rows)
    return [x[:, start : start + step] for start in range(0, x.shape[1], step)]


def _starts(n: int, permutations: int, seed: int) -> list[tuple[str, np.ndarray]]:
    """Return the couplings (n, n) that a search starts from, by name."""
    generator = np.random.default_rng([seed, n])
    identity = np.eye(n) / n
    drawn = [(f"permutation {i}", identity[generator.permutation(n)]) for i in range(permutations)]
    return [("identity", identity), ("product", np.full((n, n), 1 / n**2)), *drawn]


def _descend(first: np.ndarray, second: np.ndarray, start: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (GW², plan) of a local minimum from ``start``, for distances (n, n) in both clouds."""
    from ot.gromov import gromov_wasserstein as descend

    plan, log = descend(first, second, loss_fun="square_loss", symmetric=True, G0=start, log=True)
    return log["gw_dist"], plan


def _mean_euclidean(x: np.ndarray, y: np.ndarray) -> float:
    """Return the mean distance over all pairs of a row of ``x`` and a row of ``y``, in blocks of rows."""
    mean, step = y.mean(axis=0), max(1, BLOCK // len(y))
    x, y = x - mean, y - mean  # for the digits' sake
    squares, total = _squares(y), 0.0  # (n,)
    for start in range(0, len(x), step):
        part = x[start : start + step]
        total += np.sqrt((_squares(part)[:, None] + squares - 2 * part @ y.T).clip(0)).sum()
    return float(total / len(x) ** 2)


def _mean_manhattan(x: np.ndarray, y: np.ndarray) -> float:
    """Return Σ_d ∫ F (1 - G) + G (1 - F), F, G the distribution functions of a dimension, by sorting: O(d n log n)."""
    blocks = zip(_column_blocks(x, 2 * len(x)), _column_blocks(y, 2 * len(y)), strict=True)
    return float(sum(_manhattan_block(first, second) for first, second in blocks))


def _manhattan_block(x: np.ndarray, y: np.ndarray) -> float:
    n = len(x)
    pooled = np.concatenate([x, y])  # (2 n, columns)
    order = np.argsort(pooled, axis=0)
    below_x = np.cumsum(order < n, axis=0)[:-1] / n  # (2 n - 1, columns) F between two neighbours
    below_y = np.arange(1, 2 * n)[:, None] / n - below_x
    gaps = np.diff(np.take_along_axis(pooled, order, axis=0), axis=0)
    return float((gaps * (below_x * (1 - below_y) + below_y * (1 - below_x))).sum())
