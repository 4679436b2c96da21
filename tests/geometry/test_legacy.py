"""The prior study's numbers, against its formulas written out plainly, and the flaws that the docstrings name."""

import numpy as np
import pytest
from scipy.linalg import subspace_angles, svd

from stages.geometry import legacy
from stages.geometry.curvature import menger_curvature
from stages.geometry.spectrum import factorise, legacy_decay


def cloud(n, d, seed, decay=0.0, mean=0.0):
    generator = np.random.default_rng(seed)
    scales = np.arange(1, d + 1) ** -float(decay)
    return (generator.standard_normal((n, d)) * scales + mean * generator.standard_normal(d)).astype(np.float32)


def pair(n, d, decay, mean):
    reference = cloud(n, d, 0, decay, mean)
    return reference, reference + 0.2 * cloud(n, d, 1, decay)


CLOUDS = {
    "random": pair(60, 20, 0.0, 0.0),
    "wide": pair(40, 120, 0.0, 0.0),
    "decaying spectrum and large mean": pair(200, 64, 1.0, 10.0),
    "more prompts than directions": pair(300, 150, 0.8, 3.0),
}


def plain(x, y):
    """Every formula of the prior study, from the singular value decompositions of ``x`` and ``y``."""
    x, y = x.astype(float), y.astype(float)
    s, right = svd(y, full_matrices=False)[1:]
    p = s / (s.sum() + 1e-10)
    p = p[p > 1e-10]
    log_i, log_s = np.log(np.arange(1, len(s) + 1)), np.log(s + 1e-10)
    slope, _ = np.polyfit(log_i, log_s, 1)
    k = min(100, *y.shape)
    first, second = svd(x, full_matrices=False)[2][:k].T, right[:k].T
    h = np.eye(len(x)) - 1 / len(x)
    a, b = h @ x @ x.T @ h, h @ y @ y.T @ h
    return {
        "legacy_effective_rank": np.exp(-(p / p.sum() * np.log(p / p.sum())).sum()),
        "legacy_decay": -slope,
        "legacy_decay_r2": np.corrcoef(log_i, log_s)[0, 1] ** 2,
        "legacy_participation_ratio": s.sum() ** 2 / (s**2).sum(),
        "legacy_stable_rank": (s**2).sum() / s[0] ** 2,
        "legacy_components_90": np.searchsorted(np.cumsum(s**2), 0.9 * (s**2).sum()) + 1,
        "legacy_condition_number": s[0] / s[-1],
        "legacy_preservation": np.cos(subspace_angles(first, second)).mean(),
        "legacy_projection": np.linalg.norm(first.T @ second, "fro") ** 2 / k / k,
        "legacy_cka": (a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum()),
        "legacy_correlation_alignment": abs(np.corrcoef(x.flatten(), y.flatten())[0, 1]),
    }


@pytest.mark.parametrize("name", CLOUDS)
def test_every_number_is_the_prior_study_s(name):
    found, expected = legacy.legacy_records(*CLOUDS[name]), plain(*CLOUDS[name])
    assert set(found) == set(expected)
    for measure, value in expected.items():
        assert found[measure] == pytest.approx(value, rel=1e-6), measure
    assert legacy_decay(factorise(CLOUDS[name][1], centred=False)) == pytest.approx(expected["legacy_decay"], rel=1e-6)


def test_singular_directions_keep_their_digits_beside_a_large_mean():
    x = cloud(200, 30, 0, decay=2.5, mean=300.0).astype(float)
    s = svd(x, compute_uv=False)
    spectrum, _ = legacy.legacy_spectrum(x)
    assert s[0] / s[-1] > 1e6
    assert legacy.legacy_condition_number(spectrum) == pytest.approx(s[0] / s[-1], rel=1e-6)
    log_i = np.log(np.arange(1, len(s) + 1))
    assert legacy_decay(spectrum) == pytest.approx(-np.polyfit(log_i, np.log(s + 1e-10), 1)[0], rel=1e-6)


def test_projection_of_a_model_on_itself_is_one_over_k():
    x = CLOUDS["random"][0]
    found = legacy.legacy_records(x, x)
    assert found["legacy_projection"] == pytest.approx(1 / 20)
    assert found["legacy_preservation"] == pytest.approx(1)


def test_preservation_of_unrelated_models_is_one_where_k_is_the_width():
    found = legacy.legacy_records(cloud(300, 40, 0), cloud(300, 40, 1))
    assert found["legacy_preservation"] == pytest.approx(1)


def test_cka_of_unrelated_noise_is_high_and_a_shared_mean_correlates_any_two_models():
    x, y = cloud(100, 2000, 0), cloud(100, 2000, 1)
    assert legacy.legacy_cka(x, y) > 0.9
    mean = 30 * np.random.default_rng(2).standard_normal(2000)
    assert legacy.legacy_correlation_alignment(x, y) < 0.05
    assert legacy.legacy_correlation_alignment(x + mean, y + mean) > 0.99


def test_a_sign_is_lost_and_a_constant_cloud_scores_zero():
    x = CLOUDS["random"][0]
    assert legacy.legacy_correlation_alignment(x, -x) == pytest.approx(1)
    assert legacy.legacy_cka(x, np.ones_like(x)) == 0


def test_a_deficient_matrix_is_infinite_only_below_the_absolute_threshold():
    x = np.diag([3.0, 1.0, 1e-9])
    assert legacy.legacy_condition_number(legacy.legacy_spectrum(x)[0]) == pytest.approx(3e9)
    assert legacy.legacy_condition_number(legacy.legacy_spectrum(x / 100)[0]) == np.inf


def test_menger_curvature_is_the_prior_study_s():
    a, b, c = np.random.default_rng(0).standard_normal((3, 50, 16))
    x, y, z = (np.linalg.norm(u - v, axis=1) for u, v in ((a, b), (b, c), (c, a)))
    half = (x + y + z) / 2
    area = np.sqrt(half * (half - x) * (half - y) * (half - z))
    np.testing.assert_allclose(menger_curvature(a, b, c), 4 * area / (x * y * z), rtol=1e-6)


def test_unlike_shapes_are_named():
    with pytest.raises(legacy.LegacyError, match=r"shape \(5, 3\) and \(5, 4\)"):
        legacy.legacy_records(np.ones((5, 3)), np.ones((5, 4)))
