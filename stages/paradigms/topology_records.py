"""The records of clusters and loops of one model's cloud of activations at one site; they need the extra gudhi."""

from __future__ import annotations

from functools import cache

import numpy as np

from stages.geometry.topology import BarSummary, persistence, subsample, summarise_bars
from stages.statistics.half_sampling import PAIRS, interval


def measure_topology(x: np.ndarray, points: int, quarters: np.ndarray, draws: int, confidence: float) -> list[dict]:
    """Return summaries of the H0 and H1 bars of ``x`` (n, d), in units of the median distance between two points.

    All of them depend on the number of points, so that one number p = min(``points``, 2 q) serves the value (p of
    all rows), the baseline (mean over the halves of the partitions ``quarters`` (R, 4, q), p rows of each) and the null
    (mean of ``draws`` isotropic Gaussian clouds (p, d)). Complementary halves share no prompt: the standard error, of
    the value at p points, is the root of half their mean squared difference. Pass the whole width d, which is the
    null's. Invariances and errors as `persistence`; ImportError without gudhi.
    """
    halves = [np.concatenate([part[a], part[b]]) for part in quarters for a, b in PAIRS]
    p = min(points, len(halves[0]))
    value = _summaries(x[subsample(len(x), p, seed=0)])  # (10,)
    null = _gaussian(p, x.shape[1], draws)
    apart = np.array([_summaries(x[half[:p]]) for half in halves])  # (B, 10); rows of a half are in random order
    error = np.sqrt(np.square(apart[::2] - apart[1::2]).mean(axis=0) / 2)
    low, high = interval(value, error, confidence)
    columns = {"value": value, "null": null, "resample_baseline": apart.mean(axis=0)}
    columns |= {"standard_error": error, "low": low, "high": high}
    return [
        {"measure": f"persistence_{field}", "variant": dimension, "n": len(x), "missing": "", "note": f"{p} points"}
        | {name: float(numbers[i]) for name, numbers in columns.items()}
        for i, (dimension, field) in enumerate((dim, field) for dim in ("h0", "h1") for field in BarSummary._fields)
    ]


def _summaries(x: np.ndarray) -> np.ndarray:
    """Return the five summaries of H0, then those of H1: (10,)."""
    bars = persistence(x)
    return np.array([*summarise_bars(bars.h0), *summarise_bars(bars.h1)], np.float64)


@cache
def _gaussian(points: int, d: int, draws: int) -> np.ndarray:
    """Return the mean summaries (10,) of isotropic Gaussian clouds (points, d)."""
    clouds = (np.random.default_rng([points, d, i]).standard_normal((points, d)) for i in range(draws))
    return np.mean([_summaries(cloud) for cloud in clouds], axis=0)
