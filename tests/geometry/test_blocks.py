"""Spectra from sums over blocks beside the factorisation of the rows themselves."""

import numpy as np
import pytest

from stages.geometry.blocks import (
    complementary_members,
    half_spectra,
    spectrum_from_sums,
    subset_sums,
    total_sums,
    wishart_spectrum,
)
from stages.geometry.chance import isotropic_spectrum as drawn_spectrum
from stages.geometry.spectrum import (
    Moments,
    SpectrumError,
    effective_rank,
    factorise,
    participation_ratio,
    rankme_eigen,
)
from stages.statistics.deviations import hadamard_deviations, hadamard_halves, rms_standard_error


def clouds(blocks=8, rows=30, d=6, seed=0):
    generator = np.random.default_rng(seed)
    return generator.standard_normal((blocks, rows, d)) * np.arange(1, d + 1) + 3


def sums_of(x):
    return Moments(np.swapaxes(x, -1, -2) @ x, x.sum(-2), np.full(len(x), x.shape[-2]))


@pytest.mark.parametrize("centred", [True, False])
def test_the_sum_of_blocks_has_the_spectrum_of_all_rows(centred):
    x = clouds()
    found, wanted = spectrum_from_sums(total_sums(sums_of(x)), centred), factorise(x.reshape(-1, 6), centred)
    np.testing.assert_allclose(found.s, wanted.s, rtol=1e-10)
    np.testing.assert_allclose(found.eigenvalues, wanted.eigenvalues, rtol=1e-10)
    assert (found.n, found.d, found.centred) == (wanted.n, wanted.d, wanted.centred)


def test_a_half_sample_is_a_sum_of_blocks():
    x, signs = clouds(), hadamard_halves(8)
    found = spectrum_from_sums(subset_sums(sums_of(x), complementary_members(signs)), centred=True)
    assert found.s.shape == (14, 6)
    for row, sign in enumerate(signs):
        for half, chosen in enumerate((sign > 0, sign < 0)):
            wanted = factorise(x[chosen].reshape(-1, 6), centred=True)
            np.testing.assert_allclose(found.s[2 * row + half], wanted.s, rtol=1e-9)


@pytest.mark.parametrize("centred", [True, False])
@pytest.mark.parametrize(("rows", "tolerance"), [(2000, 0.01), (40, 0.1)])  # n = 4000 d and 80 d
def test_differences_of_halves_in_the_eigenvectors_of_the_whole_are_those_of_their_own_spectra(
    centred, rows, tolerance
):
    sums, signs = sums_of(clouds(16, rows, 8)), hadamard_halves(16)
    found = half_spectra(sums, signs, centred)
    np.testing.assert_allclose(found.whole.s, spectrum_from_sums(total_sums(sums), centred).s, rtol=1e-10)
    slow = spectrum_from_sums(subset_sums(sums, complementary_members(signs)), centred)
    for measure in (rankme_eigen, participation_ratio, effective_rank):
        fast_error, slow_error = (rms_standard_error(hadamard_deviations(measure(s))) for s in (found.halves, slow))
        assert fast_error == pytest.approx(slow_error, rel=tolerance)


def test_halves_keep_the_variance_of_the_whole():
    """Traces are exact: Σ λ of a half to first order is that of its covariance."""
    sums, signs = sums_of(clouds(8, 30, 6)), hadamard_halves(8)
    fast, slow = (
        half_spectra(sums, signs, True).halves,
        spectrum_from_sums(subset_sums(sums, complementary_members(signs)), True),
    )
    np.testing.assert_allclose((fast.s**2).sum(-1), (slow.s**2).sum(-1), rtol=1e-10)


def test_more_dimensions_than_rows_leave_as_many_directions_as_rows():
    x = clouds(blocks=8, rows=2, d=40)
    for centred, rank in ((True, 15), (False, 16)):
        found = spectrum_from_sums(total_sums(sums_of(x)), centred)
        np.testing.assert_allclose(found.s, factorise(x.reshape(-1, 40), centred).s, rtol=1e-6)
        assert found.s.shape == (rank,)


def test_one_row_has_no_spectrum():
    with pytest.raises(SpectrumError, match="at least 2 rows, found 1"):
        spectrum_from_sums(Moments(np.eye(3), np.ones(3), 1), centred=True)


def test_a_rotation_changes_nothing():
    x = clouds()
    rotation = np.linalg.qr(np.random.default_rng(3).standard_normal((6, 6)))[0]
    one, other = (spectrum_from_sums(total_sums(sums_of(cloud)), centred=True) for cloud in (x, x @ rotation))
    np.testing.assert_allclose(rankme_eigen(one), rankme_eigen(other), rtol=1e-10)


@pytest.mark.parametrize("n", [12, 60, 2000])
def test_isotropic_clouds_are_those_drawn_row_by_row(n):
    found, wanted = wishart_spectrum(n, 20, 400, 0), drawn_spectrum(n, 20, True, 400, 1)
    assert found.s.shape == wanted.s.shape
    for measure in (effective_rank, participation_ratio):
        one, other = measure(found), measure(wanted)
        error = np.hypot(one.std() / 20, other.std() / 20)  # of the means of 400 draws
        assert abs(one.mean() - other.mean()) < 4 * error
