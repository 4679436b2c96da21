"""What one model does from layer to layer: similarity of every two layers, and the bend of the prompts' paths."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from stages.geometry.curvature import path_curvature, random_walk_curvature
from stages.geometry.similarity import debiased_cka
from stages.paradigms.site_records import is_constant
from stages.statistics.half_sampling import interval

DRAWS = 100
"""Random walks behind the control of curvature."""
CONSTANT = "constant by design: no variance over the prompts"


class Depth(NamedTuple):
    """Of one task and site."""

    curvature: list[tuple[int, dict]]
    """(layer in the middle of three, record)"""
    similarity: list[dict]
    """layer, other (deeper) and their debiased CKA; `missing` says why there is none"""


def measure_depth(read: Callable[[int], np.ndarray], layers: int, confidence: float, seed: int) -> Depth:
    """``read(layer)`` gives the activations (n, d) of one layer; three of them are held at a time."""
    return Depth(_bends(read, layers, confidence, seed), _similarities(read, layers))


def _similarities(read: Callable[[int], np.ndarray], layers: int) -> list[dict]:
    rows = []
    for layer in range(layers):
        x = np.asarray(read(layer), np.float64)
        for other in range(layer + 1, layers):
            y = np.asarray(read(other), np.float64)
            constant = is_constant(x) or is_constant(y)
            value = np.nan if constant else float(debiased_cka(x, y))
            rows.append({"layer": layer, "other": other, "cka": value, "missing": CONSTANT if constant else ""})
    return rows


def _bends(read: Callable[[int], np.ndarray], layers: int, confidence: float, seed: int) -> list[tuple[int, dict]]:
    """Menger curvature of three layers in a row, mean over prompts, beside that of random walks with the same steps."""
    window = [np.asarray(read(layer), np.float64) for layer in range(min(2, layers))]
    rows = []
    for layer in range(1, layers - 1):
        window.append(np.asarray(read(layer + 1), np.float64))
        path = np.stack(window, axis=1)  # (n, 3, d)
        values = path_curvature(path)[:, 0]  # (n,)
        control = random_walk_curvature(path, DRAWS, seed).mean[:, 0]
        rows.append((layer, _record(values, control, confidence)))
        window.pop(0)
    return rows


def _record(values: np.ndarray, control: np.ndarray, confidence: float) -> dict:
    """A mean over prompts: its half-sampling error is sd / √n in closed form, and its value at n / 2 is expected to be the same."""
    record = {"measure": "menger_curvature", "variant": "over_layers", "n": len(values), "missing": "", "note": ""}
    unknown = dict.fromkeys(
        ("value", "null", "resample_baseline", "ceiling", "index", "standard_error", "low", "high")
        + ("index_standard_error", "index_low", "index_high"),
        np.nan,
    )
    if np.isnan(values).any():
        return record | unknown | {"missing": f"{int(np.isnan(values).sum())} prompts stand still between two layers"}
    value, error = float(values.mean()), float(values.std(ddof=1) / np.sqrt(len(values)))
    low, high = interval(value, error, confidence)
    half = float(values[: len(values) // 2].mean())
    found = {"value": value, "null": float(control.mean()), "resample_baseline": half}
    return record | unknown | found | {"standard_error": error, "low": low, "high": high}
