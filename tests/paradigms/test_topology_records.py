"""Rows of clusters and loops: planted ones stand out of null and baseline, a Gaussian cloud does not."""

import sys

import numpy as np
import pytest

from stages.geometry.topology import BarSummary, persistence, subsample, summarise_bars
from stages.paradigms.topology_records import measure_topology
from stages.statistics.half_sampling import PAIRS, quarters

N, D, POINTS = 160, 6, 60
PARTS = quarters(N, 2, 0)


def rows(x, points=POINTS, parts=PARTS):
    return {
        (row["variant"], row["measure"]): row for row in measure_topology(x, points, parts, draws=4, confidence=0.95)
    }


def gaussian(seed=0, n=N):
    return np.random.default_rng(seed).standard_normal((n, D))


def ring(seed=0):
    angles = np.random.default_rng(seed).uniform(0, 2 * np.pi, N)
    x = 0.1 * gaussian(seed)
    x[:, :2] += 3 * np.column_stack([np.cos(angles), np.sin(angles)])
    return x


def test_a_missing_extra_names_its_installation(monkeypatch):
    monkeypatch.setitem(sys.modules, "gudhi.sklearn.rips_persistence", None)
    with pytest.raises(ImportError, match="pip install gudhi"):
        rows(gaussian())


def test_a_ring_has_a_loop_beyond_null_and_noise():
    pytest.importorskip("gudhi")
    row = rows(ring())["h1", "persistence_longest"]
    assert row["low"] > 3 * row["null"]
    assert row["resample_baseline"] == pytest.approx(row["value"], abs=4 * row["standard_error"])


def test_two_clusters_have_a_gap_beyond_null_and_noise():
    pytest.importorskip("gudhi")
    few = np.arange(N) % 4 == 0  # of two equal clusters the median distance is now inside, now between
    row = rows(gaussian() + 12 * few[:, None])["h0", "persistence_longest"]
    assert row["low"] > 2 * row["null"]


def test_a_gaussian_cloud_is_at_its_null():
    pytest.importorskip("gudhi")
    found = [rows(7 * gaussian(seed) + 3) for seed in range(1, 6)]
    for key in found[0]:
        gaps = [abs(one[key]["value"] - one[key]["null"]) / (one[key]["standard_error"] + 1e-9) for one in found]
        assert np.median(gaps) < 3, key


def test_value_and_baseline_have_equally_many_points():
    pytest.importorskip("gudhi")
    x = ring(1)
    found = rows(x)
    whole = summarise_bars(persistence(x[subsample(N, POINTS, 0)]).h1)
    halves = [np.concatenate([part[a], part[b]])[:POINTS] for part in PARTS for a, b in PAIRS]
    entropies = [summarise_bars(persistence(x[half]).h1).entropy for half in halves]
    row = found["h1", "persistence_entropy"]
    assert row["value"] == pytest.approx(whole.entropy)
    assert row["resample_baseline"] == pytest.approx(np.mean(entropies))
    assert len(found) == 2 * len(BarSummary._fields)
    assert {row["note"] for row in found.values()} == {"60 points"}
    assert {row["n"] for row in found.values()} == {N}
    capped = rows(x, points=1000)
    assert {row["note"] for row in capped.values()} == {f"{N // 2} points"}


def test_rows_are_the_same_twice():
    pytest.importorskip("gudhi")
    assert rows(ring(2)) == rows(ring(2))
