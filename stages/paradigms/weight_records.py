"""How a model's weights moved from its reference's: the records of every tensor, each measure with its null."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache

import numpy as np
import pandas as pd

from stages.geometry.chance import isotropic_spectrum
from stages.geometry.spectrum import effective_rank
from stages.geometry.weights import Overlap, TensorUpdate, displacement, is_matrix, tensor_update
from stages.paradigms.params import Probe

OWN = "its own reference: the update is zero"
STILL = "the update of this tensor is zero"
VECTOR = "a vector has one direction only"
DEFICIENT = "k is above the rank of the base weight"
IN_BLOCK = re.compile(r"^.*?\b(\d+)\.(.+?)(?:\.(weight|bias))?$")
OUTSIDE = -1
"""The layer of a tensor that belongs to no block."""


def place(name: str) -> tuple[int, str]:
    """Layer and kind of a parameter: (3, "self_attn.q_proj") of model.layers.3.self_attn.q_proj.weight."""
    inside = IN_BLOCK.match(name)
    if inside is None:
        return OUTSIDE, name.removesuffix(".weight").split(".", 1)[-1]
    return int(inside[1]), inside[2] + (".bias" if inside[3] == "bias" else "")


def update_records(
    base: Mapping[str, np.ndarray], update: Mapping[str, np.ndarray], params: Probe, common: Mapping[str, str]
) -> tuple[pd.DataFrame, float]:
    """The table `weights` of the ``update`` of every tensor of ``base``, and the displacement of the whole model.

    Null of the effective rank: the mean of isotropic Gaussian updates of the same shape. Of the overlaps: the
    expectation of an update in random directions. Norms have none. Of a stack of matrices (experts): the mean.
    """
    rows, found = [], []
    for name, weight in base.items():
        measured, numbers = _of_tensor(weight.astype(np.float64), update[name], params)
        found.append(measured)
        rows += [
            {
                **common, **_identity(name, weight.shape), "measure": measure, "variant": variant, "value": value,
                "null": null, "missing": _reason(measure, value, measured, weight.shape), "note": _note(variant, weight.shape),
            }
            for (measure, variant), (value, null) in numbers.items()
        ]  # fmt: skip
    return pd.DataFrame(rows), displacement(found)


def missing_records(
    base: Mapping[str, np.ndarray], reason: str, params: Probe, common: Mapping[str, str]
) -> pd.DataFrame:
    """The table `weights` of a model without an update that could be measured: all missing, for ``reason``."""
    rows = [
        {**common, **_identity(name, weight.shape), "measure": measure, "variant": variant, "value": np.nan, "null": np.nan,
         "missing": reason, "note": ""}
        for name, weight in base.items()
        for measure, variant in _measures(params)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def leading(shape: tuple[int, ...], shares: Sequence[float]) -> list[int]:
    """Numbers of directions for ``shares`` of the smaller side of a matrix, at least 1."""
    side = min(shape[-2:]) if is_matrix(shape) else 1
    return [max(1, round(share * side)) for share in shares]


def isotropic_rank(shape: tuple[int, int], params: Probe) -> float:
    """Mean effective rank of isotropic Gaussian matrices of ``shape``, which is that of their transposes."""
    return _isotropic_rank(max(shape), min(shape), params.null_draws, params.seed)


@cache
def _isotropic_rank(m: int, n: int, draws: int, seed: int) -> float:
    return float(effective_rank(isotropic_spectrum(m, n, False, draws, seed)).mean())


def _measures(params: Probe) -> list[tuple[str, str]]:
    """Measure and variant of every record of a tensor, in order."""
    overlaps = [(f"overlap_{side}", _variant(share)) for side in Overlap._fields for share in params.overlap_shares]
    plain = [
        ("base_norm", "frobenius"),
        ("update_norm", "frobenius"),
        ("relative_update_norm", "frobenius"),
        ("update_effective_rank", "singular"),
    ]
    return plain + overlaps


def _of_tensor(
    base: np.ndarray, update: np.ndarray, params: Probe
) -> tuple[TensorUpdate, dict[tuple[str, str], tuple[float, float]]]:
    """What was measured, and value and null of each of `_measures`."""
    measured = tensor_update(base, base + update, leading(base.shape, params.overlap_shares))
    rank_null = isotropic_rank(base.shape[-2:], params) if is_matrix(base.shape) else np.nan
    numbers = [
        (measured.base_norm, np.nan),
        (measured.norm, np.nan),
        (measured.relative_norm, np.nan),
        (measured.effective_rank, rank_null),
        *(
            (shares[..., i], chances[i])
            for shares, chances in zip(measured.overlap, measured.chance, strict=True)
            for i in range(len(params.overlap_shares))
        ),
    ]
    plain = [(float(np.mean(value)), float(null)) for value, null in numbers]
    return measured, dict(zip(_measures(params), plain, strict=True))


def _variant(share: float) -> str:
    return f"share_{share:g}"


def _note(variant: str, shape: tuple[int, ...]) -> str:
    """The number of directions behind a share of them."""
    if not (variant.startswith("share_") and is_matrix(shape)):
        return ""
    return f"k = {leading(shape, [float(variant.removeprefix('share_'))])[0]}"


def _identity(name: str, shape: tuple[int, ...]) -> dict:
    layer, kind = place(name)
    return {"tensor": name, "kind": kind, "layer": layer, "shape": "x".join(map(str, shape))}


def _reason(measure: str, value: float, measured: TensorUpdate, shape: tuple[int, ...]) -> str:
    """Why ``value`` is missing, or nothing."""
    if not np.isnan(value):
        return ""
    if measure == "relative_update_norm":
        return "the base weight is zero"
    if not is_matrix(shape):
        return VECTOR
    return STILL if measured.norm == 0 else DEFICIENT
