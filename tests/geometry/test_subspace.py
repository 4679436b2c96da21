"""Principal angles of known rotations, the sweep against single calls, and random subspaces against their moments."""

import numpy as np
import pytest

from stages.geometry import subspace


def frame(d, k, seed=0):
    return np.linalg.qr(np.random.default_rng(seed).standard_normal((d, k)))[0]


def rotated(angles, d=20, seed=0):
    """Two bases (d, k) with exactly these principal angles."""
    k = len(angles)
    both = frame(d, 2 * k, seed)
    return both[:, :k], both[:, :k] * np.cos(angles) + both[:, k:] * np.sin(angles)


@pytest.mark.parametrize("smallest", [0.0, 1e-10, 1e-3])
def test_known_angles_small_ones_included(smallest):
    angles = np.array([smallest, 0.3, 1.2])
    np.testing.assert_allclose(subspace.principal_angles(*rotated(angles)), angles, rtol=1e-5, atol=1e-15)


def test_preservation_is_the_mean_cosine():
    angles = np.array([0.1, 0.5, 1.5])
    assert subspace.preservation(*rotated(angles)) == pytest.approx(np.cos(angles).mean(), abs=1e-9)


def test_preservation_ends_at_one_and_zero():
    a = frame(12, 8)
    mixed = a[:, :4] @ frame(4, 4, seed=1)
    assert subspace.preservation(a[:, :4], mixed) == pytest.approx(1)
    assert subspace.preservation(a[:, :4], a[:, 4:]) == pytest.approx(0, abs=1e-7)


def test_the_sweep_reads_one_pair_as_single_calls_do():
    a, b = frame(30, 9), frame(30, 9, seed=1)
    single = [np.linalg.svd(a[:, :k].T @ b[:, :k], compute_uv=False).mean() for k in (2, 5, 9)]
    np.testing.assert_allclose(subspace.preservation_sweep(a, b, (2, 5, 9)), single, atol=1e-9)


@pytest.mark.parametrize(("d", "k"), [(64, 8), (20, 1), (20, 15)])
def test_chance_agrees_with_two_independent_random_subspaces(d, k):
    found = subspace.preservation_chance(d, k, 4000, seed=0)
    naive = [subspace.preservation(frame(d, k, 2 * i + 1), frame(d, k, 2 * i + 2)) for i in range(400)]
    assert found.mean() == pytest.approx(np.mean(naive), abs=4 * np.std(naive) / 20)


def test_chance_of_a_line_has_its_closed_form():
    """|cos| to a random line: E cos² = 1/d, and in three dimensions |cos| is uniform on 0..1."""
    assert (subspace.preservation_chance(20, 1, 20_000, 0) ** 2).mean() == pytest.approx(1 / 20, rel=0.05)
    assert subspace.preservation_chance(3, 1, 20_000, 0).mean() == pytest.approx(0.5, abs=0.01)


def test_chance_of_the_whole_space_is_one():
    assert subspace.preservation_chance(8, 8, 10, 0).tolist() == [1.0] * 10


def test_projection_overlap_is_the_mean_squared_cosine():
    angles = np.array([0.1, 0.5, 1.5])
    assert subspace.projection_overlap(*rotated(angles)) == pytest.approx((np.cos(angles) ** 2).mean())


def test_projection_overlap_of_random_subspaces_is_k_over_d():
    draws = [subspace.projection_overlap(frame(40, 8, seed), frame(40, 8, 1000 + seed)) for seed in range(300)]
    assert np.mean(draws) == pytest.approx(8 / 40, abs=4 * np.std(draws) / np.sqrt(300))


def test_the_sweep_of_overlaps_reads_one_pair_as_single_calls_do():
    a, b = frame(30, 9), frame(30, 9, seed=1)
    single = [subspace.projection_overlap(a[:, :k], b[:, :k]) for k in (2, 5, 9)]
    np.testing.assert_allclose(subspace.projection_overlap_sweep(a, b, (2, 5, 9)), single)
    stacked = subspace.projection_overlap_sweep(np.stack([a, b]), np.stack([b, b]), (2, 9))
    np.testing.assert_allclose(stacked[:, 1], 1)


def test_the_grassmann_distance_is_the_length_of_the_angles():
    angles = np.array([1e-9, 0.4, 1.1])
    assert subspace.grassmann_distance(*rotated(angles)) == pytest.approx(np.sqrt((angles**2).sum()))
    assert subspace.grassmann_distance(*rotated(np.array([1e-9, 0.0, 0.0]))) == pytest.approx(1e-9)


def test_the_grassmann_distance_by_chance():
    draws = [subspace.grassmann_distance(frame(30, 5, seed), frame(30, 5, 1000 + seed)) for seed in range(200)]
    spread = np.std(draws) / np.sqrt(200)
    assert subspace.grassmann_chance(30, 5, 400, 0) == pytest.approx(np.mean(draws), abs=5 * spread)
    assert subspace.grassmann_chance(4, 4, 10, 0) == 0


def test_captured_variance_weighs_directions_by_what_they_carry():
    x = np.random.default_rng(0).standard_normal((500, 6)) * np.array([10, 5, 1, 1, 1, 1])
    values, vectors = np.linalg.eigh(x.T @ x)
    own = vectors[:, ::-1][:, :3]
    turned = own @ frame(3, 3)
    assert subspace.captured_variance(x, own, turned) == pytest.approx(1)  # the same subspace
    tail = np.column_stack([own[:, :2], vectors[:, 0]])  # the third direction replaced by the weakest
    lost = values[-3] - values[0]
    assert subspace.captured_variance(x, own, tail) == pytest.approx(1 - lost / values[-3:].sum())
    assert subspace.preservation(own, tail) == pytest.approx(2 / 3)  # which counts it as a third
