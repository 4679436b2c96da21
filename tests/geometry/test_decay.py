"""The median-of-windows power law, and the weighted fit over the prior study's ranks against its own formula."""

import numpy as np
import pytest

from stages.geometry.decay import legacy_ranks, median_decay
from stages.geometry.spectrum import Spectrum, SpectrumError, factorise, spectral_decay


def power_law(alpha, r=200, n=1000):
    return Spectrum(np.arange(1, r + 1) ** (-np.asarray(alpha)[..., None] / 2), n, r, centred=True)


def noisy(seed, r=200):
    law = power_law(1.0, r)
    return law._replace(s=np.sort(law.s * np.exp(np.random.default_rng(seed).normal(0, 0.05, r)))[::-1])


def corrupted(spectrum, rank, factor):
    """One eigenvalue times ``factor``, left where it is."""
    s = spectrum.s.copy()
    s[rank - 1] *= np.sqrt(factor)
    return spectrum._replace(s=s)


@pytest.mark.parametrize("ranks", [(1, 3), (1, 200), (12, 100), (5, 8)])
def test_a_power_law_gives_its_exponent(ranks):
    np.testing.assert_allclose(median_decay(power_law([0.0, 0.7, 1.0, 2.3]), *ranks), [0, 0.7, 1, 2.3], atol=1e-10)


def test_fast_path_agrees_with_a_line_fitted_to_every_window():
    spectrum = noisy(0)
    x, y = np.log(np.arange(12, 101)), np.log(spectrum.eigenvalues[11:100])
    slopes = [np.polyfit(x[i : i + 8], y[i : i + 8], 1)[0] for i in range(len(x) - 7)]
    assert median_decay(spectrum, 12, 100) == pytest.approx(-np.median(slopes))


def test_short_ranges_use_windows_of_three():
    spectrum = noisy(1)
    x, y = np.log(np.arange(2, 7)), np.log(spectrum.eigenvalues[1:6])
    slopes = [np.polyfit(x[i : i + 3], y[i : i + 3], 1)[0] for i in range(3)]
    assert median_decay(spectrum, 2, 6) == pytest.approx(-np.median(slopes))


@pytest.mark.parametrize("rank", [12, 20, 50, 95])
@pytest.mark.parametrize("factor", [0.01, 30.0])
def test_one_corrupted_eigenvalue_moves_it_less_than_the_weighted_fit(rank, factor):
    clean, spoilt = power_law(1.0), corrupted(power_law(1.0), rank, factor)
    weighted = [spectral_decay(s, 12, 100, eigen=True, weighted=True).alpha for s in (clean, spoilt)]
    moved = abs(median_decay(spoilt, 12, 100) - median_decay(clean, 12, 100))
    assert moved < 1e-9 < 0.01 < abs(weighted[1] - weighted[0])


def test_a_stack_is_measured_as_its_members_and_scale_does_not_matter():
    spectra = [noisy(seed) for seed in range(3)]
    stack = spectra[0]._replace(s=np.stack([s.s for s in spectra]) * 7.0)
    np.testing.assert_allclose(median_decay(stack, 3, 90), [median_decay(s, 3, 90) for s in spectra])


def test_zero_eigenvalues_give_nan_only_where_they_are_fitted():
    x = np.random.default_rng(0).standard_normal((400, 20)) @ np.diag([1.0] * 15 + [0.0] * 5)
    spectrum = factorise(x, centred=True)
    assert np.isnan(median_decay(spectrum, 1, 16))
    assert np.isfinite(median_decay(spectrum, 1, 15))
    stack = spectrum._replace(s=np.stack([spectrum.s, power_law(1.0, 20).s]))
    np.testing.assert_array_equal(np.isnan(median_decay(stack, 1, 20)), [True, False])


@pytest.mark.parametrize("ranks", [(1, 2), (0, 5), (199, 201), (10, 5)])
def test_too_few_ranks(ranks):
    with pytest.raises(SpectrumError, match=r"at least 3 ranks inside 1\.\.200, asked for"):
        median_decay(power_law(1.0), *ranks)


def test_legacy_ranks():
    assert legacy_ranks(power_law(1.0)) == (12, 100)
    assert legacy_ranks(power_law(1.0, r=64)) == (12, 64)
    assert legacy_ranks(power_law(1.0, r=14)) == (12, 14)
    with pytest.raises(SpectrumError, match="need 14 eigenvalues, found 13: use decay_ranks"):
        legacy_ranks(power_law(1.0, r=13))


def test_weighted_fit_over_the_legacy_ranks_is_the_prior_studys():
    """It minimises sum_i w_i (ln λ_i - c + α ln i)², w_i = 1 / i, i = 12..100: solved here by the normal equations."""
    spectrum = noisy(2)
    ranks = np.arange(12, 101)
    design = np.column_stack([-np.log(ranks), np.ones(89)])
    alpha, _ = np.linalg.solve((design.T / ranks) @ design, (design.T / ranks) @ np.log(spectrum.eigenvalues[11:100]))
    found = spectral_decay(spectrum, *legacy_ranks(spectrum), eigen=True, weighted=True)
    assert found.alpha == pytest.approx(alpha, rel=1e-10)
    assert (found.first, found.last) == (12, 100)
