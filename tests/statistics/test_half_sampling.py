"""Balanced half-samples, and the standard error of a statistic whose true one is known."""

import numpy as np
import pytest

from stages.statistics.half_sampling import (
    HALVES,
    PAIRS,
    complement_deviations,
    half_sample_standard_error,
    interval,
    p_value,
    partitions_for,
    quarters,
)  # fmt: skip


def test_partitions_give_at_least_the_wanted_half_samples():
    assert [partitions_for(b) for b in (6, 7, 200)] == [1, 2, 34]


@pytest.mark.parametrize("n", [8, 1000, 1003])
def test_quarters_are_disjoint_and_of_equal_size(n):
    parts = quarters(n, 5, seed=0)
    assert parts.shape == (5, 4, n // 4)
    for part in parts:
        assert len(np.unique(part)) == part.size and part.max() < n


def test_neighbouring_pairs_are_complementary_and_every_quarter_is_in_half_of_them():
    assert all(sorted(PAIRS[i] + PAIRS[i + 1]) == [0, 1, 2, 3] for i in range(0, HALVES, 2))
    assert [sum(q in pair for pair in PAIRS) for q in range(4)] == [3] * 4


def test_halves_depend_on_seed_and_task_only():
    assert (quarters(100, 3, 0, "logic") == quarters(100, 3, 0, "logic")).all()
    assert (quarters(100, 3, 0, "logic") != quarters(100, 3, 0, "strings")).any()
    assert (quarters(100, 3, 0, "logic") != quarters(100, 3, 1, "logic")).any()


def test_standard_error_of_a_mean_is_the_textbook_one():
    x = np.random.default_rng(0).standard_normal(1000) * 3
    means = np.array([x[part[list(pair)].ravel()].mean() for part in quarters(1000, 200, 0) for pair in PAIRS])
    assert half_sample_standard_error(means, 1000) == pytest.approx(x.std(ddof=1) / np.sqrt(1000), rel=0.1)


@pytest.mark.parametrize(("split", "plain"), [(False, 3), (True, 7)])
def test_standard_error_of_a_product_of_means_without_a_linear_part(split, plain):
    """T = mean(x) mean(y), both of mean 0: var(T_n) = 1 / n², which the plain formula takes for 3 or 7 times as much.

    ``split``: each half is scored between its two quarters, as the adjusted index is.
    """
    n, found, naive = 200, [], []
    for run in range(200):
        x, y = np.random.default_rng(run).standard_normal((2, n))
        parts = quarters(n, 34, run)
        a, b = np.array(PAIRS).T
        x, y = x[parts].mean(axis=-1), y[parts].mean(axis=-1)  # (R, 4)
        one, other = (
            (x[:, a] * y[:, b], x[:, b] * y[:, a]) if split else ((x[:, a] + x[:, b]) / 2, (y[:, a] + y[:, b]) / 2)
        )
        halves = ((one + other) / 2 if split else one * other).ravel()
        found.append(half_sample_standard_error(halves, n))
        naive.append(halves.std(ddof=1))
    assert plain * 0.8 < np.mean(np.square(naive)) * n**2 < plain * 1.25
    assert (
        0.8 < np.mean(np.square(found)) * n**2 < (4.8 if split else 2.4)
    )  # 4 and 2: nothing but interaction is the worst


def test_draws_of_an_average_are_averages_of_draws():
    x = np.random.default_rng(0).standard_normal((3, 400))
    means = np.stack(
        [[z[part[list(pair)].ravel()].mean() for part in quarters(400, 34, 0) for pair in PAIRS] for z in x]
    )
    average = complement_deviations(means, 400).mean(axis=0)
    assert average.std(ddof=1) == pytest.approx(half_sample_standard_error(means.mean(axis=0), 400))
    np.testing.assert_allclose(complement_deviations(means, np.full(3, 400)), complement_deviations(means, 400))


def test_half_samples_without_their_complements_are_refused():
    with pytest.raises(ValueError, match="5 half-samples: expected complementary pairs"):
        half_sample_standard_error(np.zeros(5), 100)


def test_standard_error_scales_other_subset_sizes():
    assert half_sample_standard_error(np.array([1.0, 3.0]), n=100, m=20) == pytest.approx(np.sqrt(2) * np.sqrt(20 / 80))


def test_interval_and_p():
    assert interval(1.0, 0.5, 0.95) == pytest.approx((1 - 0.979982, 1 + 0.979982))
    assert p_value(1.959964, 1.0) == pytest.approx(0.05, abs=1e-6)
    assert p_value(0.0, 0.0) == 1 and p_value(0.1, 0.0) == 0


def test_too_few_prompts():
    with pytest.raises(ValueError, match="at least 8 prompts, found 7"):
        quarters(7, 1, 0)
