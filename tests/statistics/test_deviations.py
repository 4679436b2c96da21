"""Balanced half-samples against the textbook error of a mean, and what their intervals of a smooth statistic cover."""

from itertools import combinations

import numpy as np
import pytest
from scipy import stats

from stages.geometry.spectrum import Spectrum, effective_rank
from stages.statistics import deviations as dev


def replicates(statistic, blocks):
    """``statistic`` of the mean over each half and its complement, side by side: (..., 2 (B - 1))."""
    signs = dev.hadamard_halves(len(blocks))
    sides = np.stack([signs, -signs], axis=1).reshape(-1, len(blocks)) > 0  # (2 (B - 1), B)
    return statistic(np.einsum("hb,b...->h...", sides, blocks) / (len(blocks) / 2))


@pytest.mark.parametrize("blocks", [8, 16, 64])
def test_every_half_has_half_the_blocks_and_any_two_share_half_of_theirs(blocks):
    signs = dev.hadamard_halves(blocks)
    assert signs.shape == (blocks - 1, blocks) and set(np.unique(signs)) == {-1, 1}
    np.testing.assert_array_equal(signs.sum(axis=1), 0)
    np.testing.assert_array_equal(signs @ signs.T, blocks * np.eye(blocks - 1))


@pytest.mark.parametrize("blocks", [-8, 0, 1, 4, 12, 63])
def test_other_numbers_of_blocks_are_refused(blocks):
    with pytest.raises(ValueError, match=f"{blocks} blocks: expected a power of two, 8 or more"):
        dev.hadamard_halves(blocks)


@pytest.mark.parametrize("count", [6, 13, 15, 20])
def test_replicates_that_are_no_complementary_pairs_are_refused(count):
    with pytest.raises(ValueError, match=f"{count} replicates: expected 2"):
        dev.hadamard_deviations(np.zeros((3, count)))


@pytest.mark.parametrize("blocks", [8, 32])
def test_error_of_a_linear_statistic_is_exactly_the_textbook_one(blocks):
    values = np.random.default_rng(0).lognormal(size=(blocks, 5))
    found = dev.rms_standard_error(dev.hadamard_deviations(replicates(lambda x: 3 * x - 1, values).T))
    np.testing.assert_allclose(found, 3 * values.std(axis=0, ddof=1) / np.sqrt(blocks), rtol=1e-12)


def test_error_of_a_linear_statistic_is_that_of_all_halves():
    values = np.random.default_rng(1).standard_normal(8)
    every = [values[list(half)].mean() - values.mean() for half in combinations(range(8), 4)]
    found = dev.rms_standard_error(dev.hadamard_deviations(replicates(lambda x: x, values)))
    assert found == pytest.approx(np.sqrt(np.mean(np.square(every))))


def test_deviations_of_two_statistics_are_paired():
    one, other = np.random.default_rng(2).standard_normal((2, 16))
    other += 5 * one
    deviations = [dev.hadamard_deviations(replicates(lambda x: x, values)) for values in (one, other)]
    apart = dev.rms_standard_error(deviations[1] - deviations[0])
    assert apart == pytest.approx((other - one).std(ddof=1) / 4)
    assert np.mean(deviations[0] * deviations[1]) == pytest.approx(np.cov(one, other)[0, 1] / 16)


def log_effective_rank(second_moments):
    s = np.sqrt(np.linalg.eigvalsh(second_moments)[..., ::-1].clip(0))
    return np.log(effective_rank(Spectrum(s, n=2, d=s.shape[-1], centred=False), eigen=True))


def test_intervals_of_the_log_effective_rank_cover_its_expectation_at_this_size():
    """500 samples of 1024 rows in 32 blocks, d = 8: 95 % t-intervals hold the mean over samples in 95 ± 3 %.

    Of the expectation at this n, not of the population: that the rank of a sample is too small is no sampling error.
    """
    generator, scale = np.random.default_rng(3), np.arange(1, 9) ** -0.5
    estimates, errors = [], []
    for _ in range(500):
        rows = generator.standard_normal((32, 32, 8)) * scale
        blocks = np.einsum("bni,bnj->bij", rows, rows)
        estimates.append(log_effective_rank(blocks.mean(axis=0)))
        errors.append(dev.rms_standard_error(dev.hadamard_deviations(replicates(log_effective_rank, blocks))))
    estimates, errors = np.array(estimates), np.array(errors)
    covered = np.abs(estimates - estimates.mean()) <= stats.t.ppf(0.975, 31) * errors
    assert covered.mean() == pytest.approx(0.95, abs=0.03)
    assert np.sqrt(np.mean(errors**2)) == pytest.approx(estimates.std(ddof=1), rel=0.1)


def test_family_deviations_have_the_covariance_of_the_mean():
    values = np.random.default_rng(0).standard_normal((6, 5)) @ np.random.default_rng(1).standard_normal((5, 5))
    deviations = dev.family_deviations(values)
    np.testing.assert_allclose(deviations.T @ deviations / len(deviations), np.cov(values.T) / 6, atol=1e-12)
    other = dev.family_deviations(values**2)
    np.testing.assert_allclose(other - deviations, dev.family_deviations(values**2 - values), atol=1e-12)
    with pytest.raises(ValueError, match=r"2 families at least: found \(1, 5\)"):
        dev.family_deviations(values[:1])
