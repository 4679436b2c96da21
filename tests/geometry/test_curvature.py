"""Circles, lines, spheres and planes; the fast forms against plain ones; planted effects found, and nulls not."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.geometry import curvature as cv


def frame(d, k, seed=0):
    return np.linalg.qr(np.random.default_rng(seed).standard_normal((d, k)))[0]


def circle(radius, angles, d=7):
    """Points (len(angles), d) of a circle in a plane of R^d, away from the origin."""
    plane = frame(d, 2)
    return 3 + radius * (np.cos(angles)[:, None] * plane[:, 0] + np.sin(angles)[:, None] * plane[:, 1])


def paths(n=12, layers=9, d=30, seed=0):
    """Random walks whose steps grow with depth, as those of residual streams do."""
    steps = np.random.default_rng(seed).standard_normal((n, layers, d)) * 1.3 ** np.arange(layers)[:, None]
    return np.cumsum(steps, axis=1)


def sphere(n=1000, dimension=2, radius=2.0, d=8, seed=0):
    points = np.random.default_rng(seed).standard_normal((n, dimension + 1))
    return radius * points / np.linalg.norm(points, axis=1, keepdims=True) @ frame(d, dimension + 1).T


def plane(n=1000, dimension=2, d=8, seed=0):
    return np.random.default_rng(seed).uniform(-2, 2, (n, dimension)) @ frame(d, dimension).T


def noisy(x, size, seed=1):
    return x + size * np.random.default_rng(seed).standard_normal(x.shape)


@given(radius=st.floats(1e-3, 1e3), angles=st.lists(st.floats(0, 6), min_size=3, max_size=3, unique=True))
def test_three_points_of_a_circle(radius, angles):
    angles = np.sort(angles)
    if np.diff(angles).min() > 1e-3:
        points = circle(radius, angles) - 3  # around the origin: a distant one costs digits of the points themselves
        assert cv.menger_curvature(*points) == pytest.approx(1 / radius, rel=1e-6)


def test_a_line_has_none():
    points = np.array([0, 1, 5.0])[:, None] * np.arange(1, 5.0) + 2
    assert cv.menger_curvature(*points) == pytest.approx(0, abs=1e-12)
    assert cv.path_curvature(np.arange(12.0)[:, None] * np.ones(5)) == pytest.approx(np.zeros(10), abs=1e-12)


def test_menger_is_four_areas_over_the_sides_in_any_order():
    a, b, c = np.random.default_rng(0).standard_normal((3, 20, 6))
    u, v = b - a, c - a
    area = 0.5 * np.sqrt((u**2).sum(1) * (v**2).sum(1) - (u * v).sum(1) ** 2)
    sides = np.prod([np.linalg.norm(x, axis=1) for x in (a - b, b - c, c - a)], axis=0)
    for order in ((a, b, c), (b, c, a), (c, b, a)):
        np.testing.assert_allclose(cv.menger_curvature(*order), 4 * area / sides, rtol=1e-9)


def test_a_nearly_straight_path_keeps_its_digits():
    """Radius 1 seen over steps of 1e-6: the Gram determinant has no digit left here."""
    angles = np.array([0, 1e-6, 2e-6])
    points = np.stack([2 * np.sin(angles / 2) ** 2, np.sin(angles)], axis=1)
    assert cv.menger_curvature(*points) == pytest.approx(1, rel=1e-6)


def test_coincident_points_have_no_curvature_rather_than_a_wrong_one():
    a, b = np.zeros(3), np.ones(3)
    for points in ((a, a, b), (a, b, b), (a, b, a), (a, a, a)):
        assert np.isnan(cv.menger_curvature(*points))


def test_a_path_is_read_three_layers_at_a_time():
    x = paths()
    found = cv.path_curvature(x)
    assert found.shape == (12, 7)
    assert found[4, 2] == pytest.approx(cv.menger_curvature(x[4, 2], x[4, 3], x[4, 4]))
    np.testing.assert_allclose(cv.path_curvature(circle(2.5, np.linspace(0, 5, 8))), 0.4)


@given(scale=st.floats(1e-3, 1e3), seed=st.integers(0, 5))
def test_rotation_translation_and_scale_of_a_path(scale, seed):
    x = paths(n=3, d=6)
    moved = scale * (x @ frame(6, 6, seed) + 4)
    np.testing.assert_allclose(cv.path_curvature(moved), cv.path_curvature(x) / scale, rtol=1e-7)
    for before, after in zip(cv.random_walk_curvature(x, 20), cv.random_walk_curvature(moved, 20), strict=True):
        np.testing.assert_allclose(after, before / scale, rtol=1e-7)


@pytest.mark.parametrize("d", [2, 5])
def test_the_walk_control_agrees_with_walks_that_are_built(d):
    x = paths(n=1, layers=5, d=d)[0]
    steps = np.linalg.norm(np.diff(x, axis=0), axis=1)
    directions = np.random.default_rng(1).standard_normal((4000, 4, d))
    directions /= np.linalg.norm(directions, axis=-1, keepdims=True)
    walks = np.concatenate([np.zeros((4000, 1, d)), np.cumsum(steps[:, None] * directions, axis=1)], axis=1)
    built = cv.path_curvature(walks)  # (walks, 3)
    found = cv.random_walk_curvature(x, draws=4000)
    assert found.mean == pytest.approx(built.mean(axis=0), abs=5 * built.std(axis=0).max() / 4000**0.5)
    np.testing.assert_allclose(found.sd, built.std(axis=0), rtol=0.1)


def test_the_walk_control_is_a_right_angle_in_many_dimensions():
    x = paths(n=1, d=20_000)[0]
    s = np.linalg.norm(np.diff(x, axis=0), axis=1)
    np.testing.assert_allclose(cv.random_walk_curvature(x).mean, 2 / np.hypot(s[1:], s[:-1]), rtol=1e-2)


def test_random_walks_do_not_exceed_their_control_and_a_planted_bend_does_not_hide():
    x = paths(n=60)
    straight = np.arange(9.0)[:, None] * np.eye(30)[0] + 0.05 * x
    for path, found in ((x, False), (straight, True)):
        value, control = cv.path_curvature(path), cv.random_walk_curvature(path)
        z = (value - control.mean).mean(axis=0) / (control.sd.mean(axis=0) / 60**0.5)
        assert (z < -4).any() == found
        assert (np.abs(z) < 4).all() != found


def test_on_a_line_of_one_dimension_every_walk_is_straight_and_no_step_is_undefined():
    path = np.array([[0.0], [1], [3], [3]])
    found = cv.random_walk_curvature(path)
    assert found.mean[0] == 0
    assert np.isnan(found.mean[1])


@pytest.mark.parametrize(("dimension", "neighbours"), [(1, 10), (2, 20), (3, 20)])
def test_a_sphere_has_the_inverse_of_its_radius_and_a_plane_has_none(dimension, neighbours):
    n = {1: 300, 2: 1000, 3: 2000}[dimension]
    for radius in (0.5, 2.0):
        found = cv.local_pca_curvature(sphere(n, dimension, radius), dimension, neighbours)
        assert found.value == pytest.approx(1 / radius, rel=0.05)
        assert np.median(found.plain) ** 0.5 == pytest.approx(1 / radius, rel=0.05)
    assert cv.local_pca_curvature(plane(n, dimension), dimension, neighbours).value < 1e-5


def test_a_cylinder_bends_one_way_only():
    """Principal curvatures 1/r and 0: root mean square 1 / (r sqrt(2))."""
    generator = np.random.default_rng(0)
    angle, height = generator.uniform(0, 2 * np.pi, 1500), generator.uniform(0, 4, 1500)
    x = np.stack([2 * np.cos(angle), 2 * np.sin(angle), height], axis=1)
    assert cv.local_pca_curvature(x, 2, 25).value == pytest.approx(0.5 / 2**0.5, rel=0.05)


def test_noise_is_taken_off_a_plane_and_leaves_a_sphere():
    """Without the correction the noisy plane looks as bent as the sphere."""
    flat = cv.local_pca_curvature(noisy(plane(), 0.05), 2, 60)
    round_ = cv.local_pca_curvature(noisy(sphere(), 0.05), 2, 60)
    assert np.median(flat.plain) > 0.02
    assert flat.value < 0.15
    assert round_.value == pytest.approx(0.5, rel=0.15)


def test_a_flat_cloud_of_the_same_covariance_is_flatter_than_a_bent_one():
    bent = noisy(sphere(800, radius=1.0), 0.02)
    control = cv.flat_cloud(bent)
    np.testing.assert_allclose(np.cov(control.T), np.cov(bent.T), atol=0.08)
    np.testing.assert_allclose(control.mean(axis=0), bent.mean(axis=0), atol=0.15)
    plain = noisy(plane(800), 0.02)
    found, null = (cv.local_pca_curvature(x, 2, 40).value for x in (plain, cv.flat_cloud(plain)))
    assert cv.local_pca_curvature(bent, 2, 40).value > 0.8
    assert max(found, null) < 0.2


def test_local_curvature_agrees_with_a_fit_point_by_point():
    x = noisy(sphere(200, d=12), 0.03)
    m, neighbours = 2, 20
    found = cv.local_pca_curvature(x, m, neighbours)
    for i in (0, 50, 199):
        near = x[np.argsort(np.linalg.norm(x - x[i], axis=1))[:neighbours]]
        centred = near - near.mean(axis=0)
        _, _, right = np.linalg.svd(centred, full_matrices=False)
        t = centred @ right[:m].T
        normal = centred - t @ right[:m]
        design = np.column_stack([np.ones(neighbours), t, t[:, 0] ** 2 / 2, t[:, 0] * t[:, 1], t[:, 1] ** 2 / 2])
        fit, *_ = np.linalg.lstsq(design, normal, rcond=None)
        second = np.array([[fit[3], fit[4]], [fit[4], fit[5]]])  # (m, m, d)
        variance = ((normal - design @ fit) ** 2).sum() / (neighbours - 6)
        inverse = np.diag(np.linalg.inv(design.T @ design))[3:] * [1, 2, 1]
        assert found.plain[i] == pytest.approx((second**2).sum() / m, rel=1e-6)
        assert found.squared[i] == pytest.approx(((second**2).sum() - variance * inverse.sum()) / m, rel=1e-6)
        assert found.radius[i] == pytest.approx(np.sqrt((centred**2).sum() / neighbours))


@given(scale=st.floats(1e-2, 1e2), seed=st.integers(0, 3))
def test_rotation_translation_and_scale_of_a_cloud(scale, seed):
    x = noisy(sphere(60, d=5), 0.05)
    before = cv.local_pca_curvature(x, 2, 15)
    after = cv.local_pca_curvature(scale * (x @ frame(5, 5, seed) + 2), 2, 15)
    np.testing.assert_allclose(after.squared, before.squared / scale**2, rtol=1e-5, atol=1e-5 / scale**2)
    np.testing.assert_allclose(after.radius, before.radius * scale, rtol=1e-6)
    assert after.value == pytest.approx(before.value / scale, rel=1e-4)


def test_neighbours_that_coincide_leave_the_curvature_undefined():
    """Twenty neighbours at one point, and at four: neither carries six coefficients."""
    few = np.tile(frame(6, 4).T, (30, 1)) / 100
    x = np.concatenate([np.full((30, 6), 0.5), few, 5 + sphere(200, d=6)])
    found = cv.local_pca_curvature(x, 2, 20)
    assert np.isnan(found.squared[:150]).all()
    assert np.isfinite(found.squared[150:]).all()
    assert np.isfinite(found.value)
    assert np.isnan(cv.local_pca_curvature(np.zeros((30, 6)), 2, 20).value)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: cv.path_curvature(np.zeros((4, 2, 5))), r"\(4, 2, 5\).*3 layers or more"),
        (lambda: cv.path_curvature(np.full((4, 5), np.nan)), "20 of 20 values are not finite"),
        (lambda: cv.random_walk_curvature(np.zeros((4, 5)), draws=1), "draws = 1"),
        (lambda: cv.local_pca_curvature(np.eye(20), 2, 6), "more neighbours than the 6 coefficients"),
        (lambda: cv.local_pca_curvature(np.eye(20), 2, 21), "at most n"),
        (lambda: cv.local_pca_curvature(np.ones((20, 2)), 2, 10), "dimension < d"),
    ],
)
def test_impossible_requests_name_what_was_expected(call, message):
    with pytest.raises(cv.CurvatureError, match=message):
        call()
