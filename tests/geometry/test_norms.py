"""Closed forms against loops over rows and pairs, and planted rows and dimensions that must and must not be found."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.geometry import norms


def cloud(n=40, d=6, seed=0, offset=0.5):
    return np.random.default_rng(seed).standard_normal((n, d)) + offset


def test_statistics_of_known_norms():
    found = norms.norm_statistics(np.diag([1.0, 2.0, 3.0, 10.0]))
    assert found.mean == pytest.approx(4)
    assert found.sd == pytest.approx(np.std([1, 2, 3, 10]))
    assert (found.minimum, found.median, found.maximum, found.maximum_to_median) == (1, 2.5, 10, 4)


def test_anisotropy_is_the_mean_over_all_pairs_of_different_rows():
    x = cloud(n=12)
    naive = [a @ b / np.linalg.norm(a) / np.linalg.norm(b) for a, b in permutations(x, 2)]
    assert norms.anisotropy(x) == pytest.approx(np.mean(naive))


def test_mean_share_against_a_loop():
    x = cloud()
    naive = sum(np.mean([row[j] for row in x]) ** 2 for j in range(6)) / np.mean([row @ row for row in x])
    assert norms.mean_share(x) == pytest.approx(naive)


def test_both_end_where_they_should():
    same = np.outer([1.0, 2.0, 5.0], [3.0, 4.0])
    assert norms.anisotropy(same) == pytest.approx(1)
    assert norms.mean_share(np.ones((4, 3))) == pytest.approx(1)
    assert norms.anisotropy(np.array([[1.0, 0], [-1, 0]])) == pytest.approx(-1)
    assert norms.mean_share(np.array([[1.0, 0], [-1, 0]])) == 0


def test_both_at_chance_for_independent_rows_around_zero():
    x = np.random.default_rng(0).standard_normal((2000, 20, 8))
    assert norms.anisotropy(x).mean() == pytest.approx(0, abs=0.002)
    assert norms.mean_share(x).mean() == pytest.approx(1 / 20, rel=0.03)


@given(seed=st.integers(0, 20), factor=st.floats(1e-3, 1e3))
def test_declared_invariances(seed, factor):
    x, generator = cloud(), np.random.default_rng(seed)
    rotation, _ = np.linalg.qr(generator.standard_normal((6, 6)))
    moved = factor * x @ rotation
    for measure in (norms.anisotropy, norms.mean_share, lambda y: norms.norm_statistics(y).maximum_to_median):
        assert measure(moved) == pytest.approx(measure(x))
    assert norms.anisotropy(x * generator.uniform(0.1, 9, (40, 1))) == pytest.approx(norms.anisotropy(x))
    assert norms.norm_statistics(moved).sd == pytest.approx(factor * norms.norm_statistics(x).sd)


def test_an_ordinary_cloud_has_nothing_massive():
    found = norms.massive_activations(cloud(n=500, d=64))
    assert found.rows == found.dimensions == found.row_share == found.dimension_share == 0
    assert norms.non_massive_rows(cloud()).all()


def test_a_sink_row_is_found_and_masked():
    x = cloud(n=101)
    x[7] = 30 * np.median(np.linalg.norm(x, axis=1)) * np.ones(6) / np.sqrt(6)
    found = norms.massive_activations(x)
    assert found.rows == 1
    assert np.flatnonzero(found.massive_rows).tolist() == np.flatnonzero(~norms.non_massive_rows(x)).tolist() == [7]
    assert found.row_share == pytest.approx((x[7] ** 2).sum() / (x**2).sum())
    assert found.dimensions == 0
    assert norms.massive_activations(x[norms.non_massive_rows(x)]).rows == 0


def test_a_massive_dimension_is_found_though_no_row_is():
    x = cloud()
    x[:, 2] = 500 + cloud()[:, 2]
    found = norms.massive_activations(x)
    assert found.rows == 0
    assert np.flatnonzero(found.massive_dimensions).tolist() == [2]
    assert found.dimension_share == pytest.approx((x[:, 2] ** 2).sum() / (x**2).sum())
    assert found.largest == np.abs(x).max()
    assert found.median == np.median(np.abs(x))
    assert found.largest_to_median == pytest.approx(np.abs(x).max() / np.median(np.abs(x)))


@pytest.mark.parametrize(("times", "kept"), [(9.99, True), (10.01, False)])
def test_the_threshold_is_in_medians(times, kept):
    x = np.vstack([np.eye(4), times * np.eye(4)[:1]])
    assert norms.non_massive_rows(x)[-1] == kept


def test_a_stack_is_measured_as_its_members():
    x = np.stack([cloud(seed=i) for i in range(3)])
    x[1, 3] *= 1000
    for measure in (norms.anisotropy, norms.mean_share, norms.non_massive_rows):
        np.testing.assert_array_equal(measure(x), [measure(y) for y in x])
    stacked = norms.massive_activations(x)
    single = [norms.massive_activations(y) for y in x]
    for field in stacked._fields:
        np.testing.assert_allclose(getattr(stacked, field), [getattr(found, field) for found in single])


def test_zeros_are_undefined_not_a_number_by_accident():
    assert np.isnan(norms.anisotropy(np.vstack([np.zeros(3), np.ones((2, 3))])))
    found = norms.massive_activations(np.zeros((3, 3)))
    assert np.isnan([found.row_share, found.largest_to_median, norms.mean_share(np.zeros((3, 3)))]).all()


@pytest.mark.parametrize(("x", "message"), [
    (np.ones((1, 3)), "at least 2 rows"), (np.ones(3), "shape"), (np.array([[1, np.nan], [1, 2], [np.inf, 0]]), "^2 rows hold"),
])  # fmt: skip
def test_bad_clouds_are_refused(x, message):
    for function in (
        norms.norm_statistics,
        norms.non_massive_rows,
        norms.massive_activations,
        norms.anisotropy,
        norms.mean_share,
    ):
        with pytest.raises(norms.NormError, match=message):
            function(x)


def test_a_threshold_that_could_drop_most_rows_is_refused():
    with pytest.raises(norms.NormError, match=r"threshold 0\.5"):
        norms.non_massive_rows(cloud(), 0.5)
