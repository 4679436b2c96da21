"""Persistence of shapes whose bars are known, and against the minimum spanning tree."""

import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.geometry import topology as top


def circle(n=60, noise=0.0, seed=0):
    angles = 2 * np.pi * np.arange(n) / n
    x = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return x + noise * np.random.default_rng(seed).standard_normal(x.shape)


def test_a_missing_extra_names_its_installation(monkeypatch):
    monkeypatch.setitem(sys.modules, "gudhi.sklearn.rips_persistence", None)
    with pytest.raises(ImportError, match="pip install gudhi"):
        top.persistence(circle())


def test_summary_of_known_bars():
    found = top.summarise_bars(np.array([[0.0, 1.0], [0.5, 1.5], [0.0, 2.0]]), threshold=1.5)
    assert found == pytest.approx((4, 0.5 * np.log(4) + 0.5 * np.log(2), 2, 1, 1))
    assert top.summarise_bars(np.empty((0, 2))) == (0, 0, 0, 0, 0)
    assert top.summarise_bars(np.array([[0.0, 3.0]])).entropy == 0


@given(m=st.integers(1, 40), length=st.floats(0.01, 100))
def test_equal_bars_have_the_entropy_of_their_number(m, length):
    assert top.summarise_bars(np.tile([1.0, 1.0 + length], (m, 1))).entropy == pytest.approx(np.log(m), abs=1e-9)


def test_rows_are_drawn_once_for_all_models():
    rows = top.subsample(5000, 200, seed=1)
    assert len(np.unique(rows)) == 200 and (np.diff(rows) > 0).all()
    np.testing.assert_array_equal(rows, top.subsample(5000, 200, seed=1))
    assert not np.array_equal(rows, top.subsample(5000, 200, seed=2))
    np.testing.assert_array_equal(top.subsample(7, 200, seed=1), np.arange(7))


def test_a_square_has_one_loop_from_its_side_to_its_diagonal():
    pytest.importorskip("gudhi")
    bars = top.persistence(np.array([[0.0, 0], [1, 0], [1, 1], [0, 1]]))
    assert bars.scale == pytest.approx(1)
    np.testing.assert_allclose(bars.h1, [[1, np.sqrt(2)]])
    np.testing.assert_allclose(bars.h0, [[0, 1]] * 3)


def test_a_circle_has_one_long_loop_that_closes_at_a_triangle():
    pytest.importorskip("gudhi")
    bars = top.persistence(circle(60))
    np.testing.assert_allclose(bars.h1 * bars.scale, [[2 * np.sin(np.pi / 60), np.sqrt(3)]], rtol=1e-6)
    noisy = top.summarise_bars(top.persistence(circle(200, noise=0.05)).h1)
    assert noisy.longest > 0.8 and noisy.longest > 5 * noisy.second


def test_two_clusters_have_one_long_gap_and_one_gaussian_has_none():
    pytest.importorskip("gudhi")
    x = np.random.default_rng(0).standard_normal((200, 10))
    split = x + 30 * (np.arange(200) % 2)[:, None]
    one, two = (top.summarise_bars(top.persistence(y).h0) for y in (x, split))
    assert two.longest > 5 * two.second
    assert one.longest < 1.5 * one.second
    loops = top.summarise_bars(top.persistence(x).h1)
    assert loops.longest < 0.25 and loops.longest < 2 * loops.second


def test_clusters_merge_along_the_minimum_spanning_tree():
    pytest.importorskip("gudhi")
    from scipy.sparse.csgraph import minimum_spanning_tree
    from scipy.spatial.distance import pdist, squareform

    x = np.random.default_rng(1).standard_normal((80, 5))
    edges = np.sort(minimum_spanning_tree(squareform(pdist(x))).data)
    bars = top.persistence(x)
    assert bars.scale == pytest.approx(np.median(pdist(x)))
    np.testing.assert_allclose(bars.h0[:, 1], edges / bars.scale, rtol=1e-6)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10_000), scale=st.floats(1e-3, 1e3), shift=st.floats(-100, 100))
def test_rotation_scale_and_translation_change_nothing(seed, scale, shift):
    pytest.importorskip("gudhi")
    generator = np.random.default_rng(seed)
    x = generator.standard_normal((40, 6))
    moved = (x @ np.linalg.qr(generator.standard_normal((6, 6)))[0] + shift) * scale
    before, after = top.persistence(x), top.persistence(moved)
    assert after.scale == pytest.approx(scale * before.scale, rel=1e-9)
    for a, b in ((before.h0, after.h0), (before.h1, after.h1)):
        np.testing.assert_allclose(top.summarise_bars(b), top.summarise_bars(a), rtol=1e-5)


def test_scaling_single_dimensions_is_seen():
    pytest.importorskip("gudhi")
    loops = [top.summarise_bars(top.persistence(circle() * s).h1).longest for s in ([1, 1], [1, 0.2])]
    assert loops[1] < 0.5 * loops[0]


def test_a_large_cloud_is_read_through_its_subsample():
    pytest.importorskip("gudhi")
    x = np.random.default_rng(3).standard_normal((500, 4))
    found = top.persistence(x, points=100, seed=4)
    np.testing.assert_array_equal(found.h1, top.persistence(x[top.subsample(500, 100, 4)]).h1)
    assert found.points == 100


def test_copies_add_nothing():
    pytest.importorskip("gudhi")
    bars = top.persistence(np.concatenate([circle(30), circle(30)[:5]]))
    assert len(bars.h0) == 29 and len(bars.h1) == 1


@pytest.mark.parametrize(
    ("x", "points", "message"),
    [
        (np.ones((20, 3)), 20, "median distance between 20 points is 0"),
        (np.full((20, 3), np.nan), 20, "20 of 20 rows hold NaN"),
        (np.ones((3, 2)), 20, "20 points of 3 rows: expected 4 or more"),
        (np.ones((5000, 2)), 1001, "1001 points of 5000 rows: .* 4 to 1000"),
        (np.ones(20), 20, r"shape \(20,\)"),
    ],
)
def test_impossible_clouds_name_the_limit(x, points, message):
    pytest.importorskip("gudhi")
    with pytest.raises(top.TopologyError, match=message):
        top.persistence(x, points)
