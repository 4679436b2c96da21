"""Transitions of a curve over layers: outstanding steps and jumps of level that noise and smooth trends do not make.

A drift curve y (T,), one distance for each pair of adjacent layers, comes with deviations D (K, T), see
`stages.statistics.deviations`. The same prompts pass all layers, so that the errors go together and the error of a
contrast c'y is the rms over K of D c.

Two shapes count: a *spike*, one step off the line of those around it, and a *shift*, a jump between two steps inside
a common line. Both are least-squares coefficients in a window of `REACH` steps on either side that holds a line
besides, so that a ramp of any slope adds nothing to them. To be a transition, a shape must be

* large against noise and against the curve's own unevenness: statistic |c'y| / √(error² + roughness²), above what the
  largest statistic of a straight curve with noise reaches (`null_statistics`);
* sharp (`_sharp`): `STEEPER` times as steep as the curve on either side. Smooth bends (exponential, sigmoid, wave) have
  steps that differ little from the next ones, whatever their size in errors, and never are.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from stages.statistics.deviations import draw_noise, require_series

# Steps on either side that a spike or a shift is compared with.
REACH = 4
# Ratio of a transition's slope to the slopes next to it.
STEEPER = 2.0
# Errors that a transition has, whatever noise would do.
LEAST_STATISTIC = 2.0
FEWEST_STEPS = 7
# Standard deviations of a normal distribution in one median absolute deviation.
NORMAL_MAD = 1.4826
# Differences below this share of the largest value are none.
ROUNDING = 1e-12
# Draws of the null that are held at a time.
CHUNK = 100


class Segment(NamedTuple):
    """A stretch of constant level: the steps ``first``..``last`` (inclusive) and their weighted mean."""

    first: int
    last: int
    level: float


class Transitions(NamedTuple):
    """The transitions of one curve; arrays over transitions (n,) are in ascending order of the steps."""

    steps: np.ndarray
    """(n,) the step of a spike; the first step after a shift"""
    kinds: tuple[str, ...]
    """spike or shift"""
    sizes: np.ndarray
    """(n,) height over the local line, in units of y"""
    p: np.ndarray
    """(n,) chance that the largest statistic of a straight curve with this noise is as large"""
    threshold: float
    """statistic above which a shape counts"""
    z: np.ndarray
    """(T,) `leave_one_out_z`, for description"""
    segments: tuple[Segment, ...]
    """stretches of constant level, see `segment`; they describe: a ramp too is cut into stretches"""


class Shapes(NamedTuple):
    """The patterns of all n spikes and shifts of T steps, and the contrasts that measure their heights."""

    contrasts: np.ndarray
    """(n, T) c: c'y is the height"""
    patterns: np.ndarray
    """(n, T) what a height of 1 adds to the curve; c'pattern = 1"""
    steps: np.ndarray
    """(n,) the step of a spike, the first step after a shift"""
    spikes: int
    """number of spikes, which come first; the rest are shifts"""


def leave_one_out_z(y: np.ndarray) -> np.ndarray:
    """Return the robust z (T,) of every y_i against the *other* values: (y_i - median) / (1.4826 MAD), both over j ≠ i.

    A z with i in its own mean and sd (population) never exceeds √(n - 1) among n values: 2 in a window of 5. This one
    has no bound. Where the others' MAD is 0 (more than half of them equal) z is 0 if y_i equals their median up to
    rounding (1e-12 of the largest |y|) and ±infinity otherwise. Invariant to shifts and to positive factors; knows
    nothing of order, so that the ends of a ramp have large z too. Raises ValueError below 3 values or where one is
    not finite.
    """
    if y.ndim != 1 or len(y) < 3 or not np.isfinite(y).all():
        raise ValueError(f"expected 3 finite values (T,) or more: found shape {y.shape}, {y.tolist()}")
    left_out = np.array([np.delete(y, i) for i in range(len(y))])  # (T, T - 1), row i without y_i
    median = np.median(left_out, axis=1)
    spread = NORMAL_MAD * np.median(np.abs(left_out - median[:, None]), axis=1)
    tiny = ROUNDING * np.abs(y).max()
    spread = np.where(spread <= tiny, 0.0, spread)
    return _ratio(y - median, spread, tiny)


def segment(y: np.ndarray, variances: np.ndarray, penalty: float) -> tuple[Segment, ...]:
    """Return the segmentation of ``y`` (T,) of least Σ (y_i - level)² / variance_i + ``penalty`` · (segments - 1).

    Exact, by dynamic programming over the last cut, O(T²); levels are weighted means; of equal costs the one with the
    latest cut. Source: Yao 1984; Jackson et al. 2005 (optimal partitioning).
    """
    costs = _segment_costs(y[None], variances[None])[0]  # (T, T)
    best, start = np.full(len(y) + 1, -penalty), np.zeros(len(y) + 1, int)
    for end in range(1, len(y) + 1):
        totals = best[:end] + penalty + costs[:end, end - 1]
        start[end] = end - 1 - np.argmin(totals[::-1])
        best[end] = totals[start[end]]
    cuts = [len(y)]
    while cuts[-1]:
        cuts.append(int(start[cuts[-1]]))
    bounds = cuts[::-1]
    return tuple(
        Segment(first, end - 1, float(np.average(y[first:end], weights=1 / variances[first:end])))
        for first, end in zip(bounds, bounds[1:], strict=False)
    )


def null_statistics(deviations: np.ndarray, unevenness: float, draws: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw the largest statistic, and the gain of a cut, of a straight curve with noise: (draws,) each.

    The curve has the noise of ``deviations`` (K, T) and independent departures of sd ``unevenness`` from layer to
    layer. Noise e ~ N(0, D'D / K), errors from a Wishart draw with K degrees of freedom about the same: the error of
    the error counts. The unevenness is part of the curve, which errors over prompts do not show. Contrasts of a line
    are 0, and slopes next to a step only make it less sharp, so that the flat curve stands for all straight ones. The
    gain is what a cut saves of `segment`'s sum: the larger of one cut's, and half of two cuts'.
    """
    shapes = _shapes(deviations.shape[1])
    root = np.linalg.qr(deviations, mode="r") / np.sqrt(len(deviations))  # (r, T), root' root = D'D / K
    generator = np.random.default_rng(seed)
    largest, gains = [], []
    for start in range(0, draws, CHUNK):
        noise, rows = draw_noise(root, len(deviations), min(CHUNK, draws - start), generator)
        noise = noise + unevenness * generator.standard_normal(noise.shape)
        variances = ((rows @ shapes.contrasts.T) ** 2).sum(axis=1)  # (draws, n)
        largest.append(_statistics(noise, variances, shapes, _tiny(noise)).max(axis=-1))
        gains.append(_gains(noise, _step_variances(noise, (rows**2).sum(axis=1))))
    return np.concatenate(largest), np.concatenate(gains)


def detect_transitions(y: np.ndarray, deviations: np.ndarray, draws: int, seed: int, confidence: float) -> Transitions:
    """Find the transitions of ``y`` (T,) with errors from ``deviations`` (K, T), see the head of this module.

    The null is a straight curve with this noise and the unevenness of this curve (that without its largest shape).
    The shape with the largest statistic is taken first and its pattern, by its height, out of the curve; so on while
    the largest statistic exceeds max(2, the ``confidence`` quantile of `null_statistics`). p = (1 + #{null >=
    statistic}) / (draws + 1). The segments' penalty is the larger of 2 ln T (BIC: a cut and a level) and the
    ``confidence`` quantile of a cut's gain under the null, which errors that go together between layers raise.

    Share of curves with any transition at 95 %, 99 draws, K = 63, errors of 1, T = 24 unless said: level with
    independent noise .054, neighbourly (.9 to the distance) .056, common (.8) .059, T = 7 .047; ramp of 1 a step .048
    (2000 curves each); exponential, sigmoid, parabola, wave .05 to .07, a kink of 2 errors in slope .09 (600). Too
    often: T = 80 .08 (400), K = 15 .09, K = 7 with common noise .15 (800), for so few rows know little of how so many
    errors go together; unevenness of 1 error .13, of 10 .05, at T = 7 .14, for it is estimated from the same curve.
    More than one segment: .00 to .07 without a trend. Found, with kind and place exact, spike / shift: 3 errors .19 /
    .09, 5 .68 / .41, 8 .98 / .89; T = 7: 5 errors .66 / .49, 8 .90 / .84. Errors that layers share make more of the
    same size.

    Raises ValueError on fewer than 7 steps, other shapes, values that are not finite, or too few draws.
    """
    require_series(y, deviations, FEWEST_STEPS, "step")
    null, gains = null_statistics(deviations, _unevenness(y, deviations), draws, seed)
    threshold = max(LEAST_STATISTIC, _critical(null, confidence))
    peeled = sorted(_peel(y, deviations, threshold))
    statistics = np.array([statistic for *_, statistic in peeled])
    penalty = max(2 * np.log(len(y)), _critical(gains, confidence))
    return Transitions(
        steps=np.array([step for step, *_ in peeled], int),
        kinds=tuple(kind for _, kind, *_ in peeled),
        sizes=np.array([size for _, _, size, _ in peeled], float),
        p=(1 + (null[None] >= statistics[:, None]).sum(axis=1)) / (draws + 1),
        threshold=threshold,
        z=leave_one_out_z(y),
        segments=segment(y, _step_variances(y, (deviations**2).mean(axis=0)), penalty),
    )


def _critical(null: np.ndarray, confidence: float) -> float:
    """Return the least value of ``null`` (draws,) above which every x has p <= 1 - ``confidence``.

    p = (1 + #{null >= x}) / (draws + 1). Raises ValueError on too few draws for that.
    """
    rank = int(np.ceil(confidence * (len(null) + 1)))
    if not 1 <= rank <= len(null):
        raise ValueError(f"{len(null)} draws cannot tell confidence {confidence}: take 1 / (1 - confidence) or more")
    return float(np.sort(null)[rank - 1])


def _peel(y: np.ndarray, deviations: np.ndarray, threshold: float) -> list[tuple[int, str, float, float]]:
    """Return (step, kind, size, statistic) of the transitions, the largest statistic first."""
    shapes = _shapes(len(y))
    variances = ((deviations @ shapes.contrasts.T) ** 2).mean(axis=0)  # (n,)
    rest, free, transitions = y.copy(), np.ones(len(shapes.steps), bool), []
    while free.any():
        statistics = np.where(free, _statistics(rest[None], variances[None], shapes, _tiny(y[None]))[0], 0.0)
        i = int(statistics.argmax())
        if statistics[i] <= threshold:
            break
        size = float(shapes.contrasts[i] @ rest)
        kind = "spike" if i < shapes.spikes else "shift"
        transitions.append((int(shapes.steps[i]), kind, size, float(statistics[i])))
        rest = rest - size * shapes.patterns[i]
        free &= shapes.steps != shapes.steps[i]
    return transitions


def _shapes(t: int) -> Shapes:
    """Return a spike at every step, and a shift before every step with two steps at least on either side."""
    positions = np.arange(t)
    spikes = [(i, positions == i, slice(max(0, i - REACH), i + REACH + 1)) for i in positions]
    shifts = [(i, positions >= i, slice(max(0, i - REACH), i + REACH)) for i in positions[2 : t - 1]]
    contrasts = np.zeros((len(spikes) + len(shifts), t))
    for row, (_, pattern, window) in zip(contrasts, spikes + shifts, strict=True):
        x = positions[window]
        row[window] = np.linalg.pinv(np.column_stack([np.ones(len(x)), x - x.mean(), pattern[window]]))[2]
    patterns = np.array([pattern for _, pattern, _ in spikes + shifts], float)
    return Shapes(contrasts, patterns, np.array([i for i, *_ in spikes + shifts]), len(spikes))


def _statistics(y: np.ndarray, variances: np.ndarray, shapes: Shapes, tiny: np.ndarray) -> np.ndarray:
    """Return |c'y| / √(error² + |c|² roughness), (m, n), of curves ``y`` (m, T); 0 where not sharp.

    ``variances`` (m, n) are error², heights up to ``tiny`` (m, 1) are rounding.
    """
    heights = y @ shapes.contrasts.T  # (m, n)
    scales = np.sqrt(variances + (shapes.contrasts**2).sum(axis=1) * _roughness(y, variances, shapes, tiny))
    return np.where(_sharp(y, np.sign(heights), shapes), np.abs(_ratio(heights, scales, tiny)), 0.0)


def _roughness(y: np.ndarray, variances: np.ndarray, shapes: Shapes, tiny: np.ndarray) -> np.ndarray:
    """Return the variance (m, n) of the unevenness from layer to layer of ``y`` (m, T) without each of the shapes.

    From the median of all heights over their |c|, *after this shape is taken out of the curve*, less the noise: so
    one spike is no part of its own yardstick, yet a curve that is uneven throughout has no transitions.
    """
    heights = y @ shapes.contrasts.T  # (m, n)
    length = np.sqrt((shapes.contrasts**2).sum(axis=1))  # (n,)
    overlap = shapes.patterns @ shapes.contrasts.T  # (n, n), [i, j] = height of shape j in the pattern of i
    rest = np.abs(heights[:, None] - heights[:, :, None] * overlap) / length  # (m, n, n), [i, j] = of j without i
    typical = np.median(rest, axis=-1) * NORMAL_MAD  # (m, n)
    noise = np.median(variances / length**2, axis=-1)[:, None]
    return np.where(typical <= tiny, 0.0, typical**2 - noise).clip(0)


def _unevenness(y: np.ndarray, deviations: np.ndarray) -> float:
    """Return the standard deviation of the unevenness of ``y`` (T,) without its largest shape."""
    shapes = _shapes(len(y))
    variances = ((deviations @ shapes.contrasts.T) ** 2).mean(axis=0)[None]  # (1, n)
    largest = _statistics(y[None], variances, shapes, _tiny(y[None])).argmax()
    return float(np.sqrt(_roughness(y[None], variances, shapes, _tiny(y[None]))[0, largest]))


def _sharp(y: np.ndarray, signs: np.ndarray, shapes: Shapes) -> np.ndarray:
    """Tell whether each shape of ``y`` (m, T) is `STEEPER` times as steep as the curve on either side of it: (m, n).

    Slopes are differences in the direction of the shape: a shift's against those before and after it, a spike's smaller
    leg against those by which the curve goes on falling away from it. Where the curve turns instead there is nothing to
    be steeper than. At the ends what does not exist is left out.
    """
    differences = np.diff(y, axis=-1)  # (m, T - 1), [k] leads from k to k + 1
    padded = np.pad(differences, ((0, 0), (2, 2)), constant_values=np.nan)  # [k + 2] leads from k to k + 1
    steps, spikes = shapes.steps, shapes.spikes
    spike, shift = steps[:spikes], steps[spikes:]
    spike_signs, shift_signs = signs[:, :spikes], signs[:, spikes:]
    legs = np.fmin(spike_signs * padded[:, spike + 1], -spike_signs * padded[:, spike + 2])
    falls = np.fmax(spike_signs * padded[:, spike], -spike_signs * padded[:, spike + 3])
    adjacent = np.fmax(shift_signs * padded[:, shift], shift_signs * padded[:, shift + 2])
    slopes = np.concatenate([legs, shift_signs * padded[:, shift + 1]], axis=1)
    return slopes > STEEPER * np.fmax(np.concatenate([falls, adjacent], axis=1), 0.0)


def _step_variances(y: np.ndarray, variances: np.ndarray) -> np.ndarray:
    """Return variances (..., T) of the steps of ``y`` about their level: noise, and neighbours' typical difference."""
    typical = NORMAL_MAD * np.median(np.abs(np.diff(y, axis=-1)), axis=-1, keepdims=True)
    unevenness = (typical**2 / 2 - np.median(variances, axis=-1, keepdims=True)).clip(0)
    floor = (ROUNDING * np.abs(y).max(axis=-1, keepdims=True)) ** 2
    return np.maximum(variances + unevenness, np.where(floor > 0, floor, 1.0))


def _segment_costs(y: np.ndarray, variances: np.ndarray) -> np.ndarray:
    """Return Σ (y_i - level)² / variance_i, (m, T, T), over steps a..b of ``y`` (m, T); infinite below the diagonal."""
    weights = 1 / variances
    y = y - (weights * y).sum(axis=-1, keepdims=True) / weights.sum(axis=-1, keepdims=True)
    sums = [np.pad(term.cumsum(axis=-1), ((0, 0), (1, 0))) for term in (weights, weights * y, weights * y**2)]
    weight, first, second = (total[:, None, 1:] - total[:, :-1, None] for total in sums)  # (m, T, T), [a, b]
    ordered = np.triu(np.ones(weight.shape[1:], bool))
    costs = second - first**2 / np.where(ordered, weight, 1.0)
    return np.where(ordered, costs.clip(0), np.inf)


def _gains(y: np.ndarray, variances: np.ndarray) -> np.ndarray:
    """Return the saving per cut of the cost of ``y`` (m, T) in one segment, by one cut or by two, the larger: (m,)."""
    costs = _segment_costs(y, variances)
    whole, tails = costs[:, 0, -1], costs[:, 1:, -1]  # tails [k]: from step k + 1 on
    one_cut = (costs[:, 0, :-1] + tails).min(axis=-1)
    # (m, T - 1), two segments of the first k + 1 steps
    heads = (costs[:, 0, :-1, None] + costs[:, 1:, :-1]).min(axis=1)
    two_cuts = (heads + tails).min(axis=-1)
    return np.maximum(whole - one_cut, (whole - two_cuts) / 2)


def _tiny(y: np.ndarray) -> np.ndarray:
    """Return the size (m, 1) of differences of curves ``y`` (m, T) that may be rounding."""
    return ROUNDING * np.abs(y).max(axis=-1, keepdims=True)


def _ratio(values: np.ndarray, scales: np.ndarray, tiny: np.ndarray | float) -> np.ndarray:
    """Return values / scales: 0 for values up to ``tiny``, infinite for larger ones over 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(np.abs(values) <= tiny, 0.0, values / scales)
