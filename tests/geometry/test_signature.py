"""Signatures against Chen's product, and distances that find a planted difference and nothing in a null."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.geometry import signature as sig


def chen(path, degree):
    """Levels 1 to ``degree`` of the signature: exp(step) ⊗ exp(step) ⊗ …, a tensor per level."""
    k = path.shape[1]
    levels = [np.ones(())] + [np.zeros((k,) * m) for m in range(1, degree + 1)]
    for step in np.diff(path, axis=0):
        exponential = [np.ones(())]
        for m in range(1, degree + 1):
            exponential.append(np.multiply.outer(exponential[-1], step) / m)
        levels = [
            sum(np.multiply.outer(levels[j], exponential[m - j]) for j in range(m + 1)) for m in range(degree + 1)
        ]
    return levels


def logarithm(levels):
    """ln S = Σ (-1)^(p+1) (S - 1)^p / p, level by level."""
    degree, base = len(levels) - 1, [np.zeros(()), *levels[1:]]
    power, total = base, [level.copy() for level in base]
    for p in range(2, degree + 1):
        power = [sum(np.multiply.outer(power[j], base[m - j]) for j in range(m + 1)) for m in range(degree + 1)]
        total = [a - (-1) ** p * b / p for a, b in zip(total, power, strict=True)]
    return total


def lyndon(k, degree):
    """Words smaller than all of their proper suffixes, by length."""
    words = (w for m in range(1, degree + 1) for w in itertools.product(range(k), repeat=m))
    return [w for w in words if all(w < w[i:] for i in range(1, len(w)))]


def walks(n=12, k=3, seed=0, low=2, high=15):
    """Rough paths of unequal length, mean quadratic variation about 1."""
    generator = np.random.default_rng(seed)
    lengths = generator.integers(low, high, n)
    return [np.cumsum(generator.standard_normal((t, k)), axis=0) / np.sqrt(t * k) for t in lengths]


def laws(n, seed, area=0.0, t=16):
    """Two models on the same prompts: a shared part, noise of each, and in the second a turn of ``area`` a step."""
    generator = np.random.default_rng(seed)
    shared, own_x, own_y = generator.standard_normal((3, n, t, 2)) / np.sqrt(2 * t)
    turn = np.stack([np.cos(np.arange(t)), np.sin(np.arange(t))], axis=1) * area
    return list(np.cumsum(shared + 0.5 * own_x, axis=1)), list(np.cumsum(shared + 0.5 * own_y + turn, axis=1))


def test_signatures_are_chen_s_product_at_unequal_lengths():
    paths = walks()
    for found, path in zip(sig.signatures(paths, 4), paths, strict=True):
        np.testing.assert_allclose(found, np.concatenate([m.ravel() for m in chen(path, 4)[1:]]), atol=1e-12)


def test_log_signatures_are_the_logarithm_at_the_lyndon_words():
    paths = walks()
    found = sig.log_signatures(paths, 4)
    words = lyndon(3, 4)
    assert found.shape == (len(paths), len(words))
    for row, path in zip(found, paths, strict=True):
        levels = logarithm(chen(path, 4))
        np.testing.assert_allclose(row, [levels[len(w)][w] for w in words], atol=1e-12)


def test_the_first_levels_are_displacement_and_signed_area():
    square = np.array([[0.0, 0], [2, 0], [2, 3], [0, 3], [0, 0]])
    np.testing.assert_allclose(sig.log_signatures([square, square[:2]], 2), [[0, 0, 6], [2, 0, 0]], atol=1e-12)


def test_one_token_goes_nowhere():
    np.testing.assert_array_equal(sig.log_signatures([np.ones((1, 2))], 3), 0)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), token=st.integers(0, 9), times=st.integers(1, 5), shift=st.floats(-50, 50))
def test_repeating_a_token_and_translation_change_nothing(seed, token, times, shift):
    path = walks(1, seed=seed, low=10, high=11)[0]
    moved = np.insert(path, [token] * times, path[token], axis=0) + shift
    for function in (sig.signatures, sig.log_signatures):
        np.testing.assert_allclose(function([moved], 3), function([path], 3), atol=1e-11)
    other = walks(1, seed=seed + 1)
    before, after = (sig.kernel_contrasts([p], other, order=8).differences for p in (path, moved))
    np.testing.assert_allclose(after, before, rtol=1e-7, atol=1e-9)


def test_the_store_s_rows_are_split_by_prompt():
    values = np.arange(12.0).reshape(6, 2)
    paths = sig.split_paths(values, np.array([0, 1, 4, 6]))
    assert [len(path) for path in paths] == [1, 3, 2]
    np.testing.assert_array_equal(np.concatenate(paths), values)


@pytest.mark.parametrize("d", [6, 400])
def test_the_projection_is_the_pooled_leading_directions(d):
    generator = np.random.default_rng(0)
    scales = np.geomspace(10, 0.1, d)
    models = [[generator.standard_normal((t, d)) * scales + offset for t in (9, 12, 15)] for offset in (0.0, 50.0)]
    found = sig.shared_projection(models, 3)
    pooled = np.concatenate([np.concatenate(m) - np.concatenate(m).mean(axis=0) for m in models])
    leading = np.linalg.svd(pooled, full_matrices=False)[2][:3]
    np.testing.assert_allclose(np.linalg.svd(leading @ found.basis, compute_uv=False), 1, atol=1e-8)
    projected = [path for m in models for path in sig.project(m, found)]
    assert np.mean([(np.diff(path, axis=0) ** 2).sum() for path in projected]) == pytest.approx(1)


def test_a_common_rotation_and_scale_of_both_models_changes_no_distance():
    generator = np.random.default_rng(0)
    x, y = walks(10, 6, seed=1), walks(10, 6, seed=2)
    rotation = 7 * np.linalg.qr(generator.standard_normal((6, 6)))[0]

    def measured(a, b):
        shared = sig.shared_projection([a, b], 3)
        a, b = sig.project(a, shared), sig.project(b, shared)
        return [
            *sig.signature_distance(sig.signature_contrasts(a, b, 3)),
            *sig.signature_distance(sig.kernel_contrasts(a, b)),
        ]

    rotated = measured([p @ rotation for p in x], [p @ rotation + 3 for p in y])
    np.testing.assert_allclose(rotated, measured(x, y), rtol=1e-6)
    assert abs(measured(x, [2 * p for p in y])[0] / measured(x, y)[0] - 1) > 0.1  # one side alone is seen


def test_distance_is_the_plain_double_sum():
    x, y = walks(7, seed=1), walks(7, seed=2)
    a, b = sig.signatures(x, 3), sig.signatures(y, 3)
    pairs = [(i, j) for i in range(7) for j in range(7) if i != j]
    found = sig.signature_distance(sig.signature_contrasts(x, y, 3))
    assert found.squared == pytest.approx(np.mean([(a[i] - b[i]) @ (a[j] - b[j]) for i, j in pairs]))
    assert found.dispersion == pytest.approx((a.var(axis=0, ddof=1).sum() + b.var(axis=0, ddof=1).sum()) / 2)


def test_the_kernel_is_the_limit_of_high_degrees():
    x, y = walks(6, 2, seed=1), walks(6, 2, seed=2)
    truncated, whole = sig.signature_contrasts(x, y, 12), sig.kernel_contrasts(x, y, order=8)
    np.testing.assert_allclose(whole.differences, truncated.differences, atol=1e-5)
    np.testing.assert_allclose(whole.averages, truncated.averages + 1, atol=1e-5)  # the kernel counts the leading 1
    np.testing.assert_allclose(sig.signature_distance(whole), sig.signature_distance(truncated), atol=1e-5)


def test_the_kernel_of_two_lines_is_a_bessel_function():
    from scipy.special import i0

    a, b = np.array([1.0, 0.5]), np.array([0.8, 0.3])
    lines = [np.stack([np.zeros(2), v]) for v in (a, b)]
    within = sig.kernel_contrasts(lines, lines).averages
    expected = i0(2 * np.sqrt([[a @ a, a @ b], [a @ b, b @ b]]))
    np.testing.assert_allclose(within, expected, rtol=1e-4)
    normalised = sig.kernel_contrasts(lines, lines, normalised=True).averages
    np.testing.assert_allclose(
        normalised, expected / np.sqrt(np.outer(np.diag(expected), np.diag(expected))), rtol=1e-4
    )


CONTRASTS = {
    "expected signature": lambda x, y: sig.signature_contrasts(x, y, 3),
    "kernel": lambda x, y: sig.kernel_contrasts(x, y),
    "normalised kernel": lambda x, y: sig.kernel_contrasts(x, y, normalised=True),
}


def half_sampled(contrasts, draws=100):
    """Squared distance and its standard error, from half-samples of prompts."""
    n = len(contrasts.differences)
    generator = np.random.default_rng(0)
    halves = np.stack([generator.choice(n, n // 2, replace=False) for _ in range(draws)])
    subset = sig.SignatureContrasts(*(m[halves[:, :, None], halves[:, None, :]] for m in contrasts))
    return sig.signature_distance(contrasts).squared, sig.signature_distance(subset).squared.std(ddof=1)


@pytest.mark.parametrize("name", CONTRASTS)
def test_a_planted_turn_is_found_and_a_null_is_not(name):
    squared, error = half_sampled(CONTRASTS[name](*laws(60, seed=0, area=0.25)))
    assert squared > 4 * error
    squared, error = half_sampled(CONTRASTS[name](*laws(60, seed=1)))
    assert abs(squared) < 3 * error


def test_equal_models_are_at_zero_where_the_unpaired_estimate_is_below():
    import pysiglib

    x = laws(30, seed=0)[0]
    assert sig.signature_distance(sig.kernel_contrasts(x, x)).squared == pytest.approx(0, abs=1e-12)
    assert sig.signature_distance(sig.signature_contrasts(x, x, 3)).squared == pytest.approx(0, abs=1e-12)
    assert float(pysiglib.sig_mmd(np.stack(x), np.stack(x), dyadic_order=1)) < -0.01


def test_the_null_is_unbiased():
    found = [sig.signature_distance(sig.signature_contrasts(*laws(30, seed=s), 3)) for s in range(200)]
    squared = np.array([d.squared for d in found])
    assert abs(squared.mean()) < 3 * squared.std(ddof=1) / np.sqrt(200)
    assert 0.3 < (squared < 0).mean() < 0.8


def test_bad_ragged_stores_name_the_limit():
    values = np.ones((6, 2))
    with pytest.raises(sig.SignatureError, match="expected 0 to 6 with a token or more"):
        sig.split_paths(values, np.array([0, 2, 5]))
    with pytest.raises(sig.SignatureError, match="smallest step 0"):
        sig.split_paths(values, np.array([0, 2, 2, 6]))
    with pytest.raises(sig.SignatureError, match=r"shape \(6, 2\) with offsets of shape \(1,\)"):
        sig.split_paths(values, np.array([0]))


def test_bad_projections_name_the_limit():
    x = walks(4)
    with pytest.raises(sig.SignatureError, match="k = 5 directions .* in 3 dimensions: expected 1 to 3"):
        sig.shared_projection([x], 5)
    with pytest.raises(sig.SignatureError, match=r"widths \[2, 3\]"):
        sig.shared_projection([x, walks(4, 2)], 2)
    with pytest.raises(sig.SignatureError, match="no path moves"):
        sig.shared_projection([[np.ones((3, 2)), np.ones((4, 2))]], 1)
    with pytest.raises(sig.SignatureError, match="width 3 and a projection of width 2"):
        sig.project(x, sig.shared_projection([walks(4, 2)], 2))


def test_bad_paths_name_the_limit():
    x = walks(4)
    with pytest.raises(sig.SignatureError, match="4 paths of width 3 against 5 of width 3"):
        sig.kernel_contrasts(x, walks(5))
    with pytest.raises(sig.SignatureError, match="1 of 4 paths hold NaN or infinity, the first is path 2"):
        sig.signatures([x[0], x[1], x[2] * np.nan, x[3]], 2)
    with pytest.raises(sig.SignatureError, match="one or more, .tokens, d. each"):
        sig.signatures([], 2)
    with pytest.raises(sig.SignatureError, match="degree = 12 .* lower one of the two"):
        sig.log_signatures(x, 12)
    with pytest.raises(sig.SignatureError, match="degree = 0 .* expected 1 or more"):
        sig.signatures(x, 0)
    with pytest.raises(sig.SignatureError, match="at least 2 prompts, found 1"):
        sig.signature_distance(sig.signature_contrasts(x[:1], x[:1], 2))
    overflow = pytest.raises(sig.SignatureError, match="the signature overflows")
    with overflow, pytest.warns(RuntimeWarning, match="NaN or Inf"):
        sig.kernel_contrasts([1e200 * p for p in x], x)
