"""The records of one model from layer to layer: similarity of every two layers, and the bend of the prompts' paths."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from stages.geometry.curvature import path_curvature, random_walk_curvature
from stages.geometry.similarity import debiased_cka
from stages.paradigms.constancy import is_constant
from stages.statistics.half_sampling import interval

# Random walks behind the control of curvature.
DRAWS = 100
MISSING = "constant by design: no variance over the prompts"


class LayerRecords(NamedTuple):
    """Everything that is measured over the layers of one task and site."""

    curvature: list[tuple[int, dict]]
    """(layer in the middle of three, record)"""
    similarity: list[dict]
    """layer, other (deeper) and their debiased CKA; `missing` says why there is none"""


def measure_layers(read: Callable[[int], np.ndarray], layers: int, confidence: float, seed: int) -> LayerRecords:
    """Return the records over ``layers``; ``read(layer)`` gives the activations (n, d) of one, three of them held at a time."""
    return LayerRecords(_bends(read, layers, confidence, seed), _similarities(read, layers))


def _similarities(read: Callable[[int], np.ndarray], layers: int) -> list[dict]:
    rows = []
    for layer in range(layers):
        x = np.asarray(read(layer), np.float64)
        for deeper in range(layer + 1, layers):
            y = np.asarray(read(deeper), np.float64)
            constant = is_constant(x) or is_constant(y)
            value = np.nan if constant else float(debiased_cka(x, y))
            rows.append({"layer": layer, "other": deeper, "cka": value, "missing": MISSING if constant else ""})
    return rows


def _bends(read: Callable[[int], np.ndarray], layers: int, confidence: float, seed: int) -> list[tuple[int, dict]]:
    """Return the Menger curvature of three layers in a row, mean over prompts, and that of random walks with the same steps."""
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
    """Return the record of a mean over prompts: half-sampling error sd / √n in closed form, value at n / 2 expected the same."""
    record = {"measure": "menger_curvature", "variant": "over_layers", "n": len(values), "missing": "", "note": ""}
    empty = dict.fromkeys(
        ("value", "null", "resample_baseline", "ceiling", "index", "standard_error", "low", "high")
        + ("index_standard_error", "index_low", "index_high"),
        np.nan,
    )
    if np.isnan(values).any():
        return record | empty | {"missing": f"{int(np.isnan(values).sum())} prompts stand still between two layers"}
    value, error = float(values.mean()), float(values.std(ddof=1) / np.sqrt(len(values)))
    low, high = interval(value, error, confidence)
    half = float(values[: len(values) // 2].mean())
    numbers = {"value": value, "null": float(control.mean()), "resample_baseline": half}
    return record | empty | numbers | {"standard_error": error, "low": low, "high": high}
