"""Intrinsic dimensions against plain formulas, clouds of known dimension, and the duplicate rule at its two ends."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.geometry import dimension as dim


def gaussian(n, true, d=30, seed=0):
    """An isotropic Gaussian of dimension ``true``, rotated into d dimensions."""
    generator = np.random.default_rng(seed)
    return generator.standard_normal((n, true)) @ np.linalg.qr(generator.standard_normal((d, true)))[0].T + 2


def naive_distances(x, k):
    full = np.linalg.norm(x[:, None] - x[None], axis=-1)
    return np.sort(full, axis=1)[:, 1 : k + 1]


ESTIMATES = {
    "twonn": lambda cloud: dim.twonn(cloud),
    "mle": lambda cloud: dim.mle(cloud, 10),
    "gride": lambda cloud: dim.gride(cloud, 16).dimension,
    "local_pca": lambda cloud: dim.local_pca(cloud, 20),
}


def test_the_search_is_the_naive_one():
    x = gaussian(80, 4)
    found = dim.neighbours(x, 7)
    np.testing.assert_allclose(found.distances, naive_distances(x, 7), rtol=1e-9)
    np.testing.assert_allclose(
        np.linalg.norm(found.points[:, None] - found.points[found.indices], axis=-1), found.distances, rtol=1e-9
    )
    assert found.duplicates == 0


def test_a_large_common_mean_costs_no_digits():
    x = gaussian(80, 4)
    np.testing.assert_allclose(dim.neighbours(x + 1e6, 5).distances, dim.neighbours(x, 5).distances, rtol=1e-7)


def test_twonn_is_the_line_of_its_paper():
    x = gaussian(200, 4)
    r = naive_distances(x, 2)
    log_mu = np.sort(np.log(r[:, 1] / r[:, 0]))[:180]
    y = -np.log(1 - np.arange(1, 181) / 200)
    assert dim.twonn(dim.neighbours(x, 2)) == pytest.approx((log_mu @ y) / (log_mu @ log_mu), rel=1e-8)


def test_mle_is_the_mean_log_ratio():
    x = gaussian(200, 4)
    r = naive_distances(x, 8)
    expected = 1 / np.mean([np.log(row[-1] / row[:-1]).sum() / 7 for row in r])
    assert dim.mle(dim.neighbours(x, 12), 8) == pytest.approx(expected, rel=1e-8)


def test_gride_maximises_its_likelihood_at_every_scale():
    x = gaussian(300, 3)
    curve = dim.gride(dim.neighbours(x, 2), 16)
    r = naive_distances(x, 16)
    np.testing.assert_array_equal(curve.rank, [2, 4, 8, 16])
    np.testing.assert_allclose(curve.radius, r[:, curve.rank - 1].mean(axis=0), rtol=1e-8)
    candidates = np.linspace(1.5, 6, 901)
    for rank, found in zip(curve.rank, curve.dimension, strict=True):
        k, mu = rank // 2, r[:, rank - 1] / r[:, rank // 2 - 1]
        power = mu[:, None] ** candidates
        log_density = (
            (k - 1) * np.log(power - 1) + np.log(candidates) - ((2 * k - 1) * candidates + 1) * np.log(mu)[:, None]
        )
        # the library counts one point less in ln D, which takes the bias out: 1 % at n = 300
        assert found == pytest.approx(candidates[log_density.sum(axis=0).argmax()], rel=0.01)


def test_local_pca_is_that_of_the_library_with_and_without_chunks(monkeypatch):
    from skdim.id import lPCA

    cloud = dim.neighbours(gaussian(60, 6), 12)
    slow = np.mean([lPCA(ver="FO", alphaFO=0.05).fit(cloud.points[near]).dimension_ for near in cloud.indices])
    assert dim.local_pca(cloud, 12) == pytest.approx(slow)
    monkeypatch.setattr(dim, "GATHERED", 12 * 30 * 7)
    assert dim.local_pca(cloud, 12) == pytest.approx(slow)


@pytest.mark.parametrize("true", [2, 5])
def test_low_dimensions_are_found(true):
    cloud = dim.neighbours(gaussian(1000, true), 50)
    for name in ("twonn", "mle", "local_pca"):
        assert ESTIMATES[name](cloud) == pytest.approx(true, rel=0.1)
    np.testing.assert_allclose(dim.gride(cloud, 16).dimension, true, rtol=0.12)


def test_high_dimensions_are_underestimated_as_the_docstring_says():
    cloud = dim.neighbours(gaussian(1319, 50, 128), 50)
    assert dim.twonn(cloud) == pytest.approx(32, abs=3)
    assert dim.mle(cloud) == pytest.approx(27, abs=2)
    assert dim.local_pca(cloud) == pytest.approx(36, abs=1)
    assert (np.diff(dim.gride(cloud, 64).dimension) < 0.5).all()


def test_the_curve_over_scales_sees_noise_below_the_structure():
    generator = np.random.default_rng(0)
    line = np.linspace(0, 100, 1000)[:, None] * np.ones((1, 4))
    curve = dim.gride(dim.neighbours(line + 0.3 * generator.standard_normal(line.shape), 2), 64)
    assert curve.dimension[0] > 2
    assert curve.dimension[-1] == pytest.approx(1, abs=0.15)


@pytest.mark.parametrize("name", ESTIMATES)
@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 10_000), scale=st.floats(1e-4, 1e4), shift=st.floats(-1e3, 1e3))
def test_rotation_scale_translation_and_order_change_nothing(name, seed, scale, shift):
    generator = np.random.default_rng(seed)
    x = gaussian(60, 5, 8, seed)
    rotation = np.linalg.qr(generator.standard_normal((8, 8)))[0]
    moved = (x @ rotation)[generator.permutation(60)] * scale + shift * scale
    before, after = (ESTIMATES[name](dim.neighbours(y, 20)) for y in (x, moved))
    np.testing.assert_allclose(after, before, rtol=1e-6)


@pytest.mark.parametrize("name", ESTIMATES)
def test_scaling_single_dimensions_is_seen(name):
    x = gaussian(200, 6, 8)
    before, after = (ESTIMATES[name](dim.neighbours(y, 20)) for y in (x, x * np.geomspace(1e-3, 1, 8)))
    assert np.abs(after / before - 1).max() > 0.05


def test_duplicates_are_removed_and_counted():
    x = gaussian(100, 4)
    copies = np.concatenate([x, x[:7], x[:7], x[3:9] + 1e-9])
    found = dim.neighbours(copies, 10)
    assert found.duplicates == 20
    np.testing.assert_allclose(found.points, x - x.mean(axis=0), atol=1e-12)
    assert ESTIMATES["twonn"](found) == ESTIMATES["twonn"](dim.neighbours(x, 10))


def test_close_points_are_no_duplicates():
    x = gaussian(100, 4)
    assert dim.neighbours(np.concatenate([x, x[:5] + 1e-4]), 10).duplicates == 0


def test_two_searches_give_the_same_bytes():
    x = gaussian(100, 4)
    a, b = (dim.gride(dim.neighbours(x, 5), 8).dimension.tobytes() for _ in range(2))
    assert a == b


@pytest.mark.parametrize(
    ("x", "k", "message"),
    [
        (np.ones((50, 4)), 5, "1 distinct points of 50 rows have no 5 neighbours each: expected at least 6"),
        (np.repeat(np.eye(6), 9, axis=0), 6, "6 distinct points of 54 rows .* pass k <= 5"),
        (np.where(np.arange(40).reshape(10, 4) == 5, np.nan, 1.0), 2, "1 of 10 rows hold NaN or infinity"),
        (np.ones(10), 2, r"shape \(10,\): expected \(n, d\)"),
        (np.ones((10, 1)), 2, "d of 2 or more"),
        (gaussian(20, 3), 1, "k = 1 neighbours: expected 2 or more"),
    ],
)
def test_impossible_clouds_name_the_limit(x, k, message):
    with pytest.raises(dim.DimensionError, match=message):
        dim.neighbours(x, k)


def test_impossible_requests_name_the_limit():
    cloud = dim.neighbours(gaussian(30, 3), 5)
    with pytest.raises(dim.DimensionError, match="k = 6 of 5 neighbours that were searched"):
        dim.mle(cloud, 6)
    with pytest.raises(dim.DimensionError, match="k = 50 of 5"):
        dim.local_pca(cloud)
    with pytest.raises(dim.DimensionError, match="rank 32 among 30 distinct points"):
        dim.gride(cloud, 32)
    with pytest.raises(dim.DimensionError, match="last = 12: expected a power of 2"):
        dim.gride(cloud, 12)


@pytest.mark.filterwarnings("ignore:Gride:UserWarning")
@pytest.mark.parametrize("estimate", [dim.twonn, lambda cloud: dim.mle(cloud, 4), lambda cloud: dim.gride(cloud, 4)])
def test_a_simplex_has_no_dimension(estimate):
    with pytest.raises(dim.DimensionError, match="tie, as between the corners of a simplex"):
        estimate(dim.neighbours(np.eye(16), 4))


@pytest.mark.parametrize("seed", range(3))
def test_estimates_from_distances_alone_are_those_of_the_library(seed):
    cloud = dim.neighbours(np.random.default_rng(seed).standard_normal((300, 7)), 32)
    assert dim.twonn_from_distances(cloud.distances) == pytest.approx(dim.twonn(cloud), rel=1e-9)
    assert dim.mle_from_distances(cloud.distances[:, :20]) == pytest.approx(dim.mle(cloud, 20), rel=1e-9)
    curve = dim.gride(cloud, 32)
    for rank, dimension in zip(curve.rank, curve.dimension, strict=True):
        near, far = cloud.distances[:, rank // 2 - 1], cloud.distances[:, rank - 1]
        assert dim.gride_from_distances(near, far, rank) == pytest.approx(dimension, rel=1e-8)


def test_kept_rows_are_named():
    x = np.random.default_rng(0).standard_normal((30, 3))
    cloud = dim.neighbours(np.concatenate([x[:5], x]), 4)
    assert list(cloud.rows) == [0, 1, 2, 3, 4, *range(10, 35)]
    np.testing.assert_allclose(cloud.points, x - x.mean(axis=0))
