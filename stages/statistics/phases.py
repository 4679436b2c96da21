"""Turning points of a series along training, with the chance that noise alone turns it, and the phases between them.

A series y (T,), ln RankMe at T checkpoints, comes with deviations D (K, T), see `stages.statistics.deviations`: those
of balanced half-samples of the sequences (transposed) or those of families. All checkpoints see the same sequences, so
that their errors go together: the error of y_i - y_j is the rms over K of D_i - D_j, mostly far smaller than that of
either, and z_ij = (y_i - y_j) / rms.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from stages.statistics.deviations import (
    IntervalEstimate,
    draw_noise,
    interval_sign,
    require_series,
    student_interval,
)

# Standard errors that a turn has on either side, whatever noise would do.
LEAST_PROMINENCE = 2.0
# Differences below this share of the largest value are ties.
ROUNDING = 1e-12
FEWEST_CHECKPOINTS = 4
# Draws of the null that are held at a time.
CHUNK = 500


class MeasuredSeries(NamedTuple):
    """One quantity at T checkpoints with the deviations of its errors."""

    values: np.ndarray
    """(T,)"""
    deviations: np.ndarray
    """(K, T), see `stages.statistics.deviations`"""


class Turns(NamedTuple):
    """The turning points of a series in ascending order; maxima and minima alternate."""

    indices: np.ndarray
    """(n,) positions of the checkpoints; the first one of a plateau"""
    kinds: tuple[str, ...]
    """maximum or minimum"""
    prominences: np.ndarray
    """(n,) the smaller of the two differences from the neighbours, in standard errors"""


class Stretch(NamedTuple):
    """A stretch of checkpoints ``first``..``last`` (inclusive) from one turning point, or end, to the next."""

    first: int
    last: int
    label: str
    rankme: IntervalEstimate
    """slope of ln RankMe against x"""
    alpha: IntervalEstimate
    """slope of α against x"""


class PhaseSequence(NamedTuple):
    """The phases of one series: its turning points and the labelled stretches between them."""

    turns: Turns
    stretches: tuple[Stretch, ...]
    threshold: float
    """prominence, in standard errors, from which a turn counts"""
    p: float
    """p of the largest turn, see `null_prominences`; 1 without any"""


class Direction(NamedTuple):
    """A change between two checkpoints with Student's interval, and its sign as a word."""

    change: float
    standard_error: float
    low: float
    high: float
    label: str
    """up, down, or undecided"""


def turning_points(y: np.ndarray, deviations: np.ndarray, threshold: float) -> Turns:
    """Return the turning points of ``y`` (T,) with ``deviations`` (K, T): the inner points of its longest alternation.

    An alternation is a sequence of points that lie up and down in turn, neighbours at least ``threshold`` standard
    errors apart; of several with most points it is the one with the largest total variation, which puts the points on
    the extremes, and then the earliest. So y has a maximum at j if and only if it rises to y_j from some earlier point
    and falls from it to some later one by ``threshold`` each. Where every difference has the same error this is what is
    left when the neighbouring pair of extrema with the least difference goes until none is below ``threshold``
    (topological persistence). The outermost points of the sequence are no turns: the most extreme points of the first
    and the last stretch, ends of the series or not, for a turn needs no help from a noisy end. Without noise every true
    turn counts. Invariant to shifts and, with the deviations, to positive factors. Raises ValueError as
    `detect_phases`.
    """
    require_series(y, deviations, FEWEST_CHECKPOINTS, "checkpoint")
    z = _standard_scores(y, _pair_errors(deviations))  # (T, T)
    chain = _longest_alternation(y, z, threshold)
    steps = np.array([abs(z[i, j]) for i, j in zip(chain, chain[1:], strict=False)])
    inner = np.array(chain[1:-1], int)
    kinds = tuple("maximum" if y[j] > y[i] else "minimum" for i, j in zip(chain, chain[1:-1], strict=False))
    return Turns(inner, kinds, np.minimum(steps[:-1], steps[1:]))


def largest_prominence(y: np.ndarray, deviations: np.ndarray) -> float:
    """Return the largest threshold at which ``y`` (T,), with ``deviations`` (K, T), has a turning point; 0 if monotone.

    max over i < j < k of min(z_ji, z_jk), maxima and minima alike. Raises ValueError as `detect_phases`.
    """
    require_series(y, deviations, FEWEST_CHECKPOINTS, "checkpoint")
    falls = np.triu(_standard_scores(y, _pair_errors(deviations)), 1)  # (T, T) z of y_i - y_j, i < j; 0 elsewhere
    rises = np.triu(-falls, 1)
    turns = [np.minimum(leg.max(axis=0), back.max(axis=1)).max() for leg, back in ((rises, falls), (falls, rises))]
    return float(max(0.0, *turns))


def null_prominences(deviations: np.ndarray, draws: int, seed: int) -> np.ndarray:
    """Draw a bound on `largest_prominence` of any monotone series with the noise of ``deviations`` (K, T): (draws,).

    One leg of a turn goes against the trend, and there the noise alone makes the whole difference: for a rising series
    no turn is larger than max over i < j of (e_i - e_j) / se_ij, the largest fall of its noise e, and for a falling one
    the largest rise, which has the same distribution. Level series after one step attain the bound. (An isotonic fit in
    place of the unknown trend follows the noise, so that the simulated noise falls too little: stepwise series then
    turn up to twice as often as stated.) e ~ N(0, D'D / K), and se² from a Wishart draw with K degrees of freedom about
    D'D / K: the error of the error counts. At the 5 % level, 2000 series of 24 checkpoints, K = 63: flat ones turn in 1
    %, linear ones in less, steps in 3 to 4 %, the least favourable in 5 %; with K = 5 to 15 these in 5 to 10 %, for so
    few rows know little of how 24 errors go together.
    """
    root = np.linalg.qr(deviations, mode="r") / np.sqrt(len(deviations))  # (r, T), root' root = D'D / K
    generator = np.random.default_rng(seed)
    sizes = [min(CHUNK, draws - start) for start in range(0, draws, CHUNK)]
    return np.concatenate([_largest_falls(root, len(deviations), size, generator) for size in sizes])


def detect_phases(
    x: np.ndarray, ln_rankme: MeasuredSeries, alpha: MeasuredSeries, draws: int, seed: int, confidence: float
) -> PhaseSequence:
    """Find the turning points of ``ln_rankme`` along ``x`` (T,), and label the stretches between them (`_label`).

    A turn counts from max(2, the ``confidence`` quantile of `null_prominences`) standard errors on, which a monotone
    series reaches with probability 1 - ``confidence`` at most. Slopes are least squares of ln RankMe and of ``alpha``
    against x, with Student's intervals at ``confidence`` from their deviations; they take the stretches for given.
    p = (1 + #{null >= largest turn}) / (draws + 1). Source of the labels: Li et al. 2025. Raises ValueError on fewer
    than 4 checkpoints, x that does not ascend, other shapes, or values that are not finite.
    """
    y, deviations = ln_rankme
    require_series(y, deviations, FEWEST_CHECKPOINTS, "checkpoint")
    require_series(*alpha, FEWEST_CHECKPOINTS, "checkpoint")
    if x.shape != y.shape or alpha.values.shape != y.shape:
        raise ValueError(f"expected one x, y and alpha a checkpoint: found {x.shape}, {y.shape}, {alpha.values.shape}")
    if not (np.diff(x) > 0).all():  # NaN neither
        raise ValueError(
            f"x must ascend strictly from checkpoint to checkpoint, found {x.tolist()}: sort, drop doubles"
        )
    null = null_prominences(deviations, draws, seed)
    threshold = max(LEAST_PROMINENCE, float(np.quantile(null, confidence)))
    turns = turning_points(y, deviations, threshold)
    bounds = [0, *turns.indices.tolist(), len(y) - 1]
    stretches = []
    for first, last in zip(bounds, bounds[1:], strict=False):
        part = slice(first, last + 1)
        rankme_slope, alpha_slope = (
            _slope(x[part], series.values[part], series.deviations[:, part], confidence)
            for series in (ln_rankme, alpha)
        )
        label = _label(rankme_slope, alpha_slope, before_a_turn=first == 0 and last < len(y) - 1)
        stretches.append(Stretch(first, last, label, rankme_slope, alpha_slope))
    p = (1 + (null >= largest_prominence(y, deviations)).sum()) / (draws + 1)
    return PhaseSequence(turns, tuple(stretches), threshold, float(p))


def turn_interval(y: np.ndarray, deviations: np.ndarray, index: int, confidence: float) -> tuple[int, int]:
    """Return the first and last of the checkpoints around the turn ``index`` that y (T,) does not tell apart from it.

    Neighbours on either side as long as |y_i - y_index| is below t standard errors (Student, K degrees of freedom): the
    turn may lie at any of them. Without noise it is the turn itself. Raises ValueError as `detect_phases`.
    """
    require_series(y, deviations, FEWEST_CHECKPOINTS, "checkpoint")
    from scipy.stats import t

    reach = t.ppf(0.5 + confidence / 2, len(deviations)) * _pair_errors(deviations)[index]  # (T,)
    is_close = np.abs(y - y[index]) < reach
    is_close[index] = True
    distinct = np.flatnonzero(~is_close)
    earlier, later = distinct[distinct < index], distinct[distinct > index]
    return int(earlier.max(initial=-1)) + 1, int(later.min(initial=len(y))) - 1


def direction(
    start: float, end: float, deviations_start: np.ndarray, deviations_end: np.ndarray, confidence: float
) -> Direction:
    """Return the change from ``start`` to ``end`` with Student's interval at ``confidence``; undecided if that holds 0.

    Deviations (K,) are paired: both ends saw the same sequences. Raises ValueError on other shapes.
    """
    if deviations_start.ndim != 1 or deviations_start.shape != deviations_end.shape:
        raise ValueError(f"expected deviations (K,) and (K,): found {deviations_start.shape}, {deviations_end.shape}")
    change = student_interval(end - start, deviations_end - deviations_start, confidence)
    return Direction(*change, {1: "up", -1: "down", 0: "undecided"}[interval_sign(change)])


def _label(rankme: IntervalEstimate, alpha: IntervalEstimate, before_a_turn: bool) -> str:
    """Return the phase of Li et al. 2025 that the signs of both slopes say; a slope whose interval holds 0 has none.

    RankMe falls while α rises in two of them, which only their position tells apart: ``before_a_turn``, the first one,
    so that RankMe rises afterwards, it is the warm-up's collapse; later, or when the series never turns, it is
    compression.
    """
    match interval_sign(rankme), interval_sign(alpha):
        case -1, 1:
            return "warm-up collapse" if before_a_turn else "compression-seeking"
        case 1, -1:
            return "entropy-seeking"
    return "undecided"


def _slope(x: np.ndarray, y: np.ndarray, deviations: np.ndarray, confidence: float) -> IntervalEstimate:
    weights = x - x.mean()  # (t,)
    weights = weights / (weights**2).sum()
    return student_interval(float(weights @ y), deviations @ weights, confidence)


def _pair_errors(deviations: np.ndarray) -> np.ndarray:
    """Return the standard errors (T, T) of y_i - y_j."""
    return np.sqrt(((deviations[:, :, None] - deviations[:, None, :]) ** 2).mean(axis=0))


def _standard_scores(y: np.ndarray, errors: np.ndarray) -> np.ndarray:
    """Return z (..., T, T) of y_i - y_j for ``y`` (..., T): 0 for ties, infinite for a difference without error."""
    differences = y[..., :, None] - y[..., None, :]
    is_tie = np.abs(differences) <= ROUNDING * np.abs(y).max(axis=-1)[..., None, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(is_tie, 0.0, differences / errors)


def _longest_alternation(y: np.ndarray, z: np.ndarray, threshold: float) -> tuple[int, ...]:
    """Return the indices of the sequence of `turning_points`, outermost points included; ``z`` (T, T) of y_i - y_j."""
    # (number of points, total variation, indices) of the best sequence that ends in j, which it reaches up or down
    best = {(j, rising): (1, 0.0, (j,)) for j in range(len(y)) for rising in (True, False)}
    for j in range(len(y)):
        for i in range(j):
            if z[i, j] == 0 or abs(z[i, j]) < threshold:
                continue
            rising = bool(z[i, j] < 0)
            points, variation, chain = best[i, not rising]
            longer = (points + 1, variation + abs(y[i] - y[j]), (*chain, j))
            best[j, rising] = max(best[j, rising], longer, key=lambda sequence: sequence[:2])
    return max(best.values(), key=lambda sequence: sequence[:2])[2]


def _largest_falls(root: np.ndarray, freedom: int, draws: int, generator: np.random.Generator) -> np.ndarray:
    """Draw max over i < j of (e_i - e_j) / se_ij, (draws,), e ~ N(0, root' root), se² of Wishart draws about it."""
    noise, rows = draw_noise(root, freedom, draws, generator)  # (draws, T), (draws, r, T)
    covariance = np.swapaxes(rows, 1, 2) @ rows  # (draws, T, T)
    variance = np.diagonal(covariance, axis1=1, axis2=2)  # (draws, T)
    errors = np.sqrt((variance[:, :, None] + variance[:, None, :] - 2 * covariance).clip(0))
    return _standard_scores(noise, errors)[:, *np.triu_indices(root.shape[1], 1)].max(axis=-1)
