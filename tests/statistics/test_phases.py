"""Turning points against slow oracles, planted phases that must be found, and monotone series that must have none.

Simulations have few series here, with bounds that chance exceeds once in a thousand; `null_prominences` has longer runs.
"""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from stages.statistics import phases as ph

T, K = 24, 63
X = np.log(np.geomspace(16, 143_000, T).round())
DRAWS = 200
INDEPENDENT = np.eye(T)
NEIGHBOURLY = 0.9 ** np.abs(np.subtract.outer(range(T), range(T)))
COMMON = 0.2 * np.eye(T) + 0.8  # of all checkpoints
NOISES = {"independent": INDEPENDENT, "neighbourly": NEIGHBOURLY, "common": COMMON}
PHASED = np.interp(range(T), [0, 6, 16, T - 1], [0.0, -1.0, 1.0, 0.2])  # down, up, down


def sample(trend, covariance, scale, generator, rows=K):
    """A series with this noise, and deviations that know the noise as ``rows`` draws do."""
    root = scale * np.linalg.cholesky(covariance)  # (T, T)
    return trend + root @ generator.standard_normal(len(trend)), generator.standard_normal((rows, len(trend))) @ root.T


def even(size=T, se=1.0):
    """Deviations for which every difference has the standard error ``se``."""
    return np.eye(size) * se * np.sqrt(size / 2)


def quiet(size=T):
    return np.zeros((K, size))


def persistent(y, threshold):
    """Slow oracle for equal errors: the neighbouring pair of extrema with the least difference goes, until none is below."""
    points = [0] + [i for i in range(1, len(y) - 1) if (y[i] - y[i - 1]) * (y[i + 1] - y[i]) < 0] + [len(y) - 1]
    while len(points) > 1:
        gaps = [abs(y[i] - y[j]) for i, j in pairwise(points)]
        least = int(np.argmin(gaps))
        if gaps[least] >= threshold:
            break
        if least == 0 or least == len(gaps) - 1:  # an outermost point is a turn no longer, the next one takes its place
            points.pop(0 if least == 0 else -1)
        else:
            del points[least : least + 2]
    return points[1:-1]


def detect(x, y, alpha, deviations, deviations_alpha, *null):
    return ph.detect_phases(x, ph.MeasuredSeries(y, deviations), ph.MeasuredSeries(alpha, deviations_alpha), *null)


@given(st.integers(0, 10**6), st.integers(4, 30), st.floats(0.0, 4.0))
def test_turning_points_are_what_persistence_leaves(seed, size, threshold):
    y = np.random.default_rng(seed).standard_normal(size).cumsum()
    found = ph.turning_points(y, even(size), threshold)
    assert found.indices.tolist() == persistent(y, threshold)


@given(st.integers(0, 10**6), st.integers(4, 12), st.floats(0.0, 3.0))
def test_neighbours_are_far_enough_apart_whatever_the_errors(seed, size, threshold):
    generator = np.random.default_rng(seed)
    y, deviations = generator.standard_normal(size).cumsum(), generator.standard_normal((9, size)) * generator.random()
    found = ph.turning_points(y, deviations, threshold)
    assert (found.prominences >= threshold).all() and (np.diff(found.indices) > 0).all()
    assert all(one != other for one, other in pairwise(found.kinds))
    heights = np.where(np.array(found.kinds) == "maximum", 1, -1) * y[found.indices]
    assert (heights[1:] + heights[:-1] > 0).all()  # maxima above the minima beside them
    largest = ph.largest_prominence(y, deviations)
    assert (len(found.indices) > 0) == (0 < largest >= threshold)
    if largest > 0:
        assert len(ph.turning_points(y, deviations, largest).indices)
        assert not len(ph.turning_points(y, deviations, np.nextafter(largest, np.inf)).indices)


@given(st.integers(0, 10**6), st.integers(4, 8))
def test_largest_prominence_over_all_triples(seed, size):
    generator = np.random.default_rng(seed)
    y, deviations = generator.standard_normal(size), generator.standard_normal((7, size))
    slow = 0.0
    for i in range(size):
        for j in range(i + 1, size):
            for k in range(j + 1, size):
                left = (y[j] - y[i]) / np.sqrt(np.mean((deviations[:, j] - deviations[:, i]) ** 2))
                right = (y[j] - y[k]) / np.sqrt(np.mean((deviations[:, j] - deviations[:, k]) ** 2))
                slow = max(slow, min(left, right), min(-left, -right))
    assert ph.largest_prominence(y, deviations) == pytest.approx(slow)


def test_prominence_is_the_smaller_side_and_needs_no_help_from_the_end():
    """5, 0, 10, 0: at 7 the first fall does not count, and the rise to the maximum is that from 0, not that from 5."""
    y = np.array([5.0, 0.0, 10.0, 1.0])
    both = ph.turning_points(y, even(4), 4.0)
    assert both.indices.tolist() == [1, 2] and both.kinds == ("minimum", "maximum")
    np.testing.assert_allclose(both.prominences, [5, 9])
    one = ph.turning_points(y, even(4), 7.0)
    assert one.indices.tolist() == [2] and one.prominences == pytest.approx([9])


def test_a_noisy_end_hides_no_turn():
    deviations = even(5)
    deviations[0, 0] = 1000.0
    found = ph.turning_points(np.array([5.0, 0.0, 10.0, 0.0, 1.0]), deviations, 3.0)
    assert found.indices.tolist() == [2]


@pytest.mark.parametrize("deviations", [quiet(7), np.ones((K, 7)) * np.pi, even(7, 0.1)])
def test_plateaus_turn_where_they_begin(deviations):
    found = ph.turning_points(np.array([2.0, 2, 0, 0, 3, 3, 1]), deviations, 2.0)
    assert found.indices.tolist() == [2, 4] and found.kinds == ("minimum", "maximum")


@pytest.mark.parametrize(
    "y", [np.ones(T), np.linspace(0, 1, T), -np.linspace(0, 1, T), np.repeat([0.0, 1, 1], 8), 0.1 + 1e-17 * X]
)
def test_monotone_series_have_no_turn_without_noise(y):
    assert not len(ph.turning_points(y, quiet(), 0.0).indices)
    found = detect(X, y, -y, quiet(), quiet(), DRAWS, 0, 0.95)
    assert len(found.stretches) == 1 and found.p == 1


def test_every_true_turn_counts_without_noise():
    y = np.where(np.arange(T) % 2, 1e-6, 0.0)
    found = ph.turning_points(y, quiet(), 2.0)
    assert found.indices.tolist() == list(range(1, T - 1)) and np.isinf(found.prominences).all()


def test_noise_that_all_checkpoints_share_is_none():
    shared = np.random.default_rng(0).standard_normal((K, 1)) + np.zeros(T)
    assert np.quantile(ph.null_prominences(shared, DRAWS, 0), 0.95) == 0
    assert len(ph.turning_points(PHASED, shared, 2.0).indices) == 2


def test_null_agrees_with_a_slow_simulation():
    """Full noise matrices in place of Bartlett's: quantiles of 4000 draws within 0.15, less than 5 % of their size."""
    generator, draws = np.random.default_rng(0), 4000
    deviations = generator.standard_normal((12, 6)) @ generator.standard_normal((6, 6))
    slow = []
    for _ in range(draws):
        noise = generator.standard_normal(12) @ deviations / np.sqrt(12)
        redrawn = generator.standard_normal((12, 12)) @ deviations / np.sqrt(12)
        slow.append(
            max(
                (noise[i] - noise[j]) / np.sqrt(np.mean((redrawn[:, i] - redrawn[:, j]) ** 2))
                for i in range(6)
                for j in range(i + 1, 6)
            )
        )
    fast = ph.null_prominences(deviations, draws, 1)
    for level in (0.5, 0.8, 0.95):
        assert np.quantile(fast, level) == pytest.approx(np.quantile(slow, level), abs=0.15)


def test_no_monotone_trend_turns_further_than_its_noise_allows():
    """The bound behind `null_prominences`, series by series."""
    generator = np.random.default_rng(2)
    deviations = even()
    for _ in range(100):
        noise = generator.standard_normal(T)
        trend = np.sort(generator.standard_normal(T) * generator.choice([0.0, 1.0, 10.0]))
        falls = max(noise[i] - noise[j] for i in range(T) for j in range(i + 1, T))
        assert ph.largest_prominence(trend + noise, deviations) <= falls + 1e-9


MONOTONE = {
    "flat": np.zeros(T),
    "linear": np.linspace(0, 5, T),
    "saturating": 20 * (1 - np.exp(-np.arange(T) / 3)),
    "step": np.where(np.arange(T) < T // 2, 0.0, 20.0),
    "late start": np.where(np.arange(T) < 1, 0.0, -20.0),  # the least favourable: level after one step
}


@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize("trend", MONOTONE)
def test_monotone_series_turn_at_most_as_often_as_stated(trend, noise):
    """300 series at the level .05: up to 29 turn, which a rate of .05 exceeds once in 1000."""
    generator, found = np.random.default_rng(0), 0
    for run in range(300):
        y, deviations = sample(MONOTONE[trend], NOISES[noise], 1.0, generator)
        found += ph.largest_prominence(y, deviations) >= np.quantile(ph.null_prominences(deviations, DRAWS, run), 0.95)
    assert found <= stats.binom.ppf(0.999, 300, 0.05)


@pytest.mark.parametrize("noise", NOISES)
def test_planted_phases_are_found(noise):
    """Down, up, down, each 10 standard errors of a checkpoint or more: two turns, near their places, with their labels,
    in at least 93 % of 100 series, and no turn of the two lost in any."""
    generator, right = np.random.default_rng(1), 0
    for run in range(100):
        y, deviations = sample(PHASED, NOISES[noise], 0.08, generator)
        alpha, deviations_alpha = sample(2 - PHASED, NOISES[noise], 0.08, generator)
        found = detect(X, y, alpha, deviations, deviations_alpha, DRAWS, run, 0.95)
        assert found.p <= 0.05 and len(found.turns.indices) >= 2
        near = len(found.turns.indices) == 2 and (np.abs(found.turns.indices - [6, 16]) <= 2).all()
        right += near and [s.label for s in found.stretches] == [
            "warm-up collapse",
            "entropy-seeking",
            "compression-seeking",
        ]
        assert found.turns.kinds[:2] == ("minimum", "maximum")
        assert [s.first for s in found.stretches] == [0, *found.turns.indices]
        assert [s.last for s in found.stretches] == [*found.turns.indices, T - 1]
    assert right >= 93


def test_slopes_and_their_errors_are_those_of_least_squares():
    y, deviations = sample(PHASED, NEIGHBOURLY, 0.05, np.random.default_rng(3))
    found = detect(X, y, -y, deviations, -deviations, DRAWS, 0, 0.9)
    for stretch in found.stretches:
        part = slice(stretch.first, stretch.last + 1)
        assert stretch.rankme.value == pytest.approx(np.polyfit(X[part], y[part], 1)[0])
        errors = [np.polyfit(X[part], row[part], 1)[0] for row in deviations]
        assert stretch.rankme.standard_error == pytest.approx(np.sqrt(np.mean(np.square(errors))))
        reach = stats.t.ppf(0.95, K) * stretch.rankme.standard_error
        assert (stretch.rankme.low, stretch.rankme.high) == pytest.approx(
            (stretch.rankme.value - reach, stretch.rankme.value + reach)
        )
        assert stretch.alpha.value == pytest.approx(-stretch.rankme.value)


DOWN = -np.linspace(0, 1, T)


@pytest.mark.parametrize(
    ("y", "alpha", "labels"),
    [
        (DOWN, -DOWN, ["compression-seeking"]),
        (-DOWN, DOWN, ["entropy-seeking"]),
        (DOWN, DOWN, ["undecided"]),
        (-DOWN, -DOWN, ["undecided"]),
        (DOWN, np.ones(T), ["undecided"]),
        (np.abs(DOWN + 0.5), -np.abs(DOWN + 0.5), ["warm-up collapse", "entropy-seeking"]),
        (-np.abs(DOWN + 0.5), np.abs(DOWN + 0.5), ["entropy-seeking", "compression-seeking"]),
    ],
)
def test_labels(y, alpha, labels):
    deviations = np.random.default_rng(0).standard_normal((K, T)) * 1e-3
    found = detect(X, y, alpha, deviations, deviations, DRAWS, 0, 0.95)
    assert [s.label for s in found.stretches] == labels


def test_a_slope_within_its_error_is_undecided():
    deviations = np.random.default_rng(0).standard_normal((K, T)) * 10
    found = detect(X, DOWN, -DOWN, deviations, deviations, DRAWS, 0, 0.95)
    assert [s.label for s in found.stretches] == ["undecided"]


def test_direction():
    deviations = np.random.default_rng(0).standard_normal((2, K))
    error = np.sqrt(np.mean((deviations[1] - deviations[0]) ** 2))
    found = ph.direction(1.0, 4.0, *deviations, 0.95)
    assert found.change == 3 and found.standard_error == pytest.approx(error)
    assert found.high - found.low == pytest.approx(2 * stats.t.ppf(0.975, K) * error)
    assert [ph.direction(1.0, end, *deviations, 0.95).label for end in (9.0, -9.0, 1.1)] == ["up", "down", "undecided"]
    # paired: what moves both ends alike is no error of the change
    assert ph.direction(1.0, 1.1, deviations[0], deviations[0], 0.95).label == "up"
    assert ph.direction(1.0, 1.0, deviations[0], deviations[0], 0.95).label == "undecided"
    with pytest.raises(ValueError, match=r"found \(63,\), \(5,\)"):
        ph.direction(0.0, 1.0, deviations[0], np.ones(5), 0.95)


@pytest.mark.parametrize(
    ("x", "y", "alpha", "deviations", "message"),
    [
        (X[:3], X[:3], X[:3], quiet(3), "4 checkpoints or more, found"),
        (X, X, X, quiet(5), r"expected deviations \(K, 24\).*found \(63, 5\)"),
        (X, X, X, np.zeros((0, T)), "expected deviations"),
        (X[::-1], X, X, quiet(), "x must ascend strictly"),
        (np.repeat(X[::2], 2), X, X, quiet(), "x must ascend strictly"),
        (X, X[1:], X[1:], quiet(), r"expected deviations \(K, 23\)"),
        (X[1:], X, X, quiet(), r"one x, y and alpha a checkpoint: found \(23,\), \(24,\), \(24,\)"),
        (X, X * np.nan, X, quiet(), "not finite"),
        (X * np.nan, X, X, quiet(), "x must ascend strictly"),
    ],
)
def test_bad_input(x, y, alpha, deviations, message):
    with pytest.raises(ValueError, match=message):
        detect(x, y, alpha, deviations, quiet(len(alpha)), DRAWS, 0, 0.95)


def test_the_place_of_a_turn_is_known_without_noise_and_uncertain_with_it():
    y = np.abs(np.arange(21.0) - 10)
    assert ph.turn_interval(y, np.zeros((31, 21)), 10, 0.95) == (10, 10)
    independent = np.random.default_rng(0).standard_normal((31, 21)) * 1.5
    first, last = ph.turn_interval(y, independent, 10, 0.95)
    assert first < 10 < last and last - first < 12
    assert ph.turn_interval(y, np.repeat(independent[:, :1], 21, axis=1), 10, 0.95) == (
        10,
        10,
    )  # a common error moves no turn


def test_the_interval_of_a_turn_holds_its_place_as_often_as_it_says():
    truth, generator = -0.15 * np.abs(np.arange(21.0) - 12), np.random.default_rng(1)
    held = 0
    for _ in range(400):
        errors = generator.standard_normal((31, 21)) * 0.2
        y = truth + generator.standard_normal(21) * 0.2
        first, last = ph.turn_interval(y, errors, int(y.argmax()), 0.95)
        held += first <= 12 <= last
    assert held / 400 >= 0.93
