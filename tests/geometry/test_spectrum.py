"""Closed forms of the spectral measures, and the fast factorisation against the plain one."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.geometry import spectrum as sp


def cloud(n=60, d=10, seed=0, offset=3.0):
    generator = np.random.default_rng(seed)
    return generator.standard_normal((n, d)) @ np.diag(1.0 / np.arange(1, d + 1)) + offset


def with_singular_values(s, n=400, seed=0):
    """A raw matrix (n, len(s)) with exactly these singular values."""
    generator = np.random.default_rng(seed)
    left, _ = np.linalg.qr(generator.standard_normal((n, len(s))))
    right, _ = np.linalg.qr(generator.standard_normal((len(s), len(s))))
    return left @ np.diag(s) @ right.T


def raw(s, n=400):
    return sp.factorise(with_singular_values(np.asarray(s, float), n), centred=False)


@pytest.mark.parametrize("centred", [True, False])
@pytest.mark.parametrize("shape", [(60, 10), (10, 60), (12, 12)])
def test_factorisation_agrees_with_the_direct_svd(shape, centred):
    x = cloud(*shape)
    found = sp.factorise(x, centred, k=4)
    _, s, right = np.linalg.svd(x - x.mean(axis=0) * centred, full_matrices=False)
    np.testing.assert_allclose(found.s, s[: len(found.s)], atol=1e-10)
    np.testing.assert_allclose(found.basis.T @ found.basis, np.eye(4), atol=1e-10)
    np.testing.assert_allclose(np.abs(np.diag(right[:4] @ found.basis)), 1, atol=1e-8)


def test_moments_of_disjoint_rows_add_up():
    x = cloud()
    x = x - x.mean(axis=0)
    joined = sp.factorise_moments(sp.moments(x[:25]) + sp.moments(x[25:]), centred=True, k=3)
    plain = sp.factorise(x, centred=True, k=3)
    np.testing.assert_allclose(joined.s, plain.s, rtol=1e-10)


@pytest.mark.parametrize("centred", [True, False])
def test_a_block_of_all_inner_products_factorises_its_rows(centred):
    x = cloud(40, 90)
    x = x - x.mean(axis=0) * centred
    rows = np.arange(0, 40, 3)
    dual = sp.factorise_squares((x @ x.T)[np.ix_(rows, rows)], 90, centred, k=3)
    found, plain = sp.with_right_vectors(dual, x[rows]), sp.factorise(x[rows], centred, k=3)
    np.testing.assert_allclose(found.s, plain.s, rtol=1e-9)
    np.testing.assert_allclose(np.abs(np.diag(found.basis.T @ plain.basis)), 1, rtol=1e-9)
    with pytest.raises(sp.SpectrumError, match="inner products need d >= n, found d = 9, n = 14"):
        sp.factorise_squares((x @ x.T)[np.ix_(rows, rows)], 9, centred)


def test_a_stack_is_measured_as_its_members():
    x = np.stack([cloud(seed=i) for i in range(3)])
    found = sp.factorise(x, centred=True)
    np.testing.assert_allclose(sp.effective_rank(found), [sp.effective_rank(sp.factorise(y, True)) for y in x])


def test_eigenvalues_are_those_of_the_covariance():
    x = cloud()
    np.testing.assert_allclose(sp.factorise(x, True).eigenvalues[::-1], np.linalg.eigvalsh(np.cov(x.T)), rtol=1e-9)


@pytest.mark.parametrize(
    "measure", [sp.effective_rank, sp.rankme, sp.rankme_eigen, sp.participation_ratio, sp.stable_rank]
)
@given(k=st.integers(1, 12))
def test_a_flat_spectrum_counts_its_directions(measure, k):
    assert measure(raw([2.0] * k)) == pytest.approx(k, rel=1e-4)


def test_effective_rank_of_two_shares():
    p = np.array([0.75, 0.25])
    expected = np.exp(-(p * np.log(p)).sum())
    assert sp.effective_rank(raw([3, 1])) == pytest.approx(expected)
    assert sp.effective_rank(raw(np.sqrt([3, 1])), eigen=True) == pytest.approx(expected)


def test_the_two_rankmes_are_effective_ranks_under_another_name_and_differ_from_each_other():
    x = cloud(offset=0.5)
    assert sp.rankme(sp.factorise(x, False)) == pytest.approx(sp.effective_rank(sp.factorise(x, False)), rel=1e-4)
    assert sp.rankme_eigen(sp.factorise(x, True)) == pytest.approx(
        sp.effective_rank(sp.factorise(x, True), eigen=True), rel=1e-4
    )
    assert sp.rankme(sp.factorise(x, False)) > 1.2 * sp.rankme_eigen(sp.factorise(x, True))


@given(alpha=st.floats(0.1, 3), first=st.integers(1, 5), length=st.integers(3, 15))
def test_a_power_law_returns_its_exponent(alpha, first, length):
    found = sp.spectral_decay(raw(np.arange(1, 21.0) ** -alpha), first, first + length - 1)
    assert found.alpha == pytest.approx(alpha, rel=1e-6)
    assert found.r2 == pytest.approx(1)


def test_decay_reports_the_variance_of_its_ranks():
    s = np.arange(1, 21.0) ** -1
    assert sp.spectral_decay(raw(s), 3, 10).share == pytest.approx((s[2:10] ** 2).sum() / (s**2).sum())


def test_legacy_decay_covers_all_ranks():
    assert sp.legacy_decay(raw(np.arange(1, 21.0) ** -1.5)) == pytest.approx(1.5, rel=1e-4)


def test_decay_ranks_are_relative_and_stay_below_a_third_of_the_rows():
    assert sp.decay_ranks(sp.Spectrum(np.ones(64), 1000, 64, True), 0.08, 0.5) == (5, 32)
    assert sp.decay_ranks(sp.Spectrum(np.ones(99), 100, 4096, True), 0.08, 0.5) == (8, 33)


@pytest.mark.parametrize(("first", "last"), [(0, 5), (3, 4), (5, 30)])
def test_decay_refuses_ranks_that_are_not_there(first, last):
    with pytest.raises(sp.SpectrumError, match="at least 3 ranks inside 1..20"):
        sp.spectral_decay(raw(np.ones(20)), first, last)


@pytest.mark.parametrize("weighted", [False, True])
def test_a_power_law_is_recovered_on_singular_values_and_on_eigenvalues(weighted):
    found = raw(np.arange(1, 101.0) ** -0.7)
    assert sp.spectral_decay(found, 3, 60, weighted=weighted).alpha == pytest.approx(0.7)
    assert sp.spectral_decay(found, 3, 60, eigen=True, weighted=weighted).alpha == pytest.approx(1.4)
    assert sp.spectral_decay(found, 3, 60, weighted=weighted).r2 == pytest.approx(1)


def test_the_weighted_fit_is_weighted_least_squares():
    """numpy's polyfit takes the root of a weight."""
    s = np.sort(np.exp(np.random.default_rng(0).normal(size=40)))[::-1]
    ranks = np.arange(4, 31)
    slope, offset = np.polyfit(np.log(ranks), 2 * np.log(s[3:30]), 1, w=ranks**-0.5)
    found = sp.spectral_decay(raw(s), 4, 30, eigen=True, weighted=True)
    assert found.alpha == pytest.approx(-slope)
    y, fit = 2 * np.log(s[3:30]), slope * np.log(ranks) + offset
    mean = np.average(y, weights=1 / ranks)
    assert found.r2 == pytest.approx(
        1 - np.average((y - fit) ** 2, weights=1 / ranks) / np.average((y - mean) ** 2, weights=1 / ranks)
    )
    assert found.alpha != pytest.approx(sp.spectral_decay(raw(s), 4, 30, eigen=True).alpha, rel=1e-2)


def test_numerical_rank_counts_what_float32_can_tell_from_zero():
    x = np.random.default_rng(0).standard_normal((50, 7)).astype(np.float32)
    both = np.concatenate([x, x[:, :3] + x[:, 1:4]], axis=1)  # 10 columns of rank 7
    assert sp.numerical_rank(sp.factorise(both, centred=False)) == 7 == np.linalg.matrix_rank(both)


def test_numerical_rank_does_not_depend_on_the_coordinates_of_a_wide_cloud():
    singular = np.concatenate([np.ones(9), [1.5e-5]])  # the last one between the roundings of width 40 and 500
    assert (
        sp.numerical_rank(sp.Spectrum(singular, 20, 500, False))
        == sp.numerical_rank(sp.Spectrum(singular, 20, 40, False))
        == 10
    )


def test_band_entropy_is_one_for_even_bands_and_zero_for_one_direction():
    found = raw([3, 3, 3, 2, 1e-9, 1e-9, 1e-9, 1e-9, 1e-9, 1e-9])
    assert sp.band_ranks(found, 0, 0.3) == (1, 3) and sp.band_ranks(found, 0.3, 1) == (4, 10)
    assert sp.band_entropy(found, 0, 0.3) == pytest.approx(1)
    assert sp.band_entropy(found, 0.3, 1) == pytest.approx(0, abs=1e-6)
    assert np.isnan(sp.band_entropy(found, 0, 0.1))  # one rank has no evenness
    tail = raw([5, 4, 1, 1, 1, 1, 1, 1, 1, 1])  # flat tail, steep head: one number would mix them
    assert sp.band_entropy(tail, 0.2, 1) == pytest.approx(1) and sp.band_entropy(tail, 0, 0.2) < 1


def test_participation_ratio_stable_rank_condition_and_components():
    found = raw([4, 2, 1])
    assert sp.participation_ratio(found) == pytest.approx(21**2 / (256 + 16 + 1))
    assert sp.participation_ratio(found, eigen=False) == pytest.approx(49 / 21)
    assert sp.stable_rank(found) == pytest.approx(21 / 16)
    assert sp.condition_number(found) == pytest.approx(4)
    assert sp.components_for(found, 0.75) == 1
    assert sp.components_for(found, 0.9) == 2


def test_components_count_a_share_that_is_reached_exactly():
    assert sp.components_for(raw([1.0] * 10), 0.9) == 9


def test_rank_deficient_matrices_have_no_condition_number():
    x = cloud()
    x[:, -1] = x[:, 0]
    assert np.isnan(sp.condition_number(sp.factorise(x, True)))


def test_a_cloud_without_extent_has_no_rank_rather_than_a_wrong_one():
    found = sp.factorise(np.ones((20, 4)), centred=True)
    for measure in (sp.effective_rank, sp.participation_ratio, sp.stable_rank, sp.components_for, sp.condition_number):
        assert np.isnan(measure(found))


def test_float32_input_is_factorised_in_float64():
    x = with_singular_values([1.0, 1e-4, 1e-6], 50)
    np.testing.assert_allclose(sp.factorise(x, False).s, [1.0, 1e-4, 1e-6], rtol=1e-3)
    assert sp.factorise(x.astype(np.float32), False).s.dtype == np.float64


def test_impossible_requests_name_the_limit():
    with pytest.raises(sp.SpectrumError, match="k = 12 directions of 12 rows in 30 dimensions: at most 11"):
        sp.factorise(cloud(12, 30), True, k=12)
    with pytest.raises(sp.SpectrumError, match="at least 2 rows, found 1"):
        sp.factorise(cloud(1, 3), True)
