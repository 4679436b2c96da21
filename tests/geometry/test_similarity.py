"""Debiased CKA against the n x n formula, and at its two ends."""

import numpy as np
import pytest

from stages.geometry.similarity import cross_sums, debiased_cka, hsic


def naive_hsic(k, m):
    """Song et al. 2012, eq. 5, on n x n kernel matrices."""
    n = len(k)
    k, m, one = k - np.diag(np.diag(k)), m - np.diag(np.diag(m)), np.ones(n)
    return (
        np.trace(k @ m) + (one @ k @ one) * (one @ m @ one) / ((n - 1) * (n - 2)) - 2 / (n - 2) * (one @ k @ m @ one)
    ) / (n * (n - 3))


def naive_cka(x, y):
    k, m = x @ x.T, y @ y.T
    return naive_hsic(k, m) / np.sqrt(naive_hsic(k, k) * naive_hsic(m, m))


@pytest.mark.parametrize("shape", [(40, 5, 7), (6, 30, 20), (4, 2, 2)])
def test_the_additive_form_is_the_naive_one(shape):
    n, d, e = shape
    generator = np.random.default_rng(0)
    x, y = generator.standard_normal((n, d)) + 1, generator.standard_normal((n, e))
    y[:, 0] += x[:, 0]
    assert hsic(cross_sums(x, y)) == pytest.approx(naive_hsic(x @ x.T, y @ y.T), rel=1e-9)
    if n > 4:
        assert debiased_cka(x, y) == pytest.approx(naive_cka(x, y), rel=1e-9)


def test_sums_of_disjoint_prompts_add_up():
    generator = np.random.default_rng(1)
    x, y = generator.standard_normal((2, 30, 4))
    joined = cross_sums(x[:12], y[:12]) + cross_sums(x[12:], y[12:])
    assert hsic(joined) == pytest.approx(hsic(cross_sums(x, y)), rel=1e-10)


def test_equal_geometry_scores_one_and_unrelated_noise_zero_even_where_the_plain_estimator_fails():
    generator = np.random.default_rng(2)
    x, y = generator.standard_normal((2, 100, 800))
    rotation = np.linalg.qr(generator.standard_normal((800, 800)))[0]
    assert debiased_cka(x, 3 * x @ rotation + 5) == pytest.approx(1)
    assert abs(debiased_cka(x, y)) < 0.02
    a, b = (z - z.mean(axis=0) for z in (x, y))
    plain = np.linalg.norm(a.T @ b) ** 2 / (np.linalg.norm(a.T @ a) * np.linalg.norm(b.T @ b))
    assert plain > 0.8


def test_too_few_prompts_are_an_error():
    with pytest.raises(ValueError, match="at least 4 prompts, found 3"):
        debiased_cka(np.ones((3, 2)), np.ones((3, 2)))
