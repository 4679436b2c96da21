"""The records of how a model's weights moved from its reference's: every tensor, each measure with its null."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache

import numpy as np
import pandas as pd

from stages.geometry.chance import isotropic_spectrum
from stages.geometry.spectrum import effective_rank
from stages.geometry.weights import Overlap, TensorUpdate, displacement, is_matrix, tensor_update
from stages.paradigms.params import ProbeParams

ITS_OWN_REFERENCE = "its own reference: the update is zero"
STILL = "the update of this tensor is zero"
VECTOR = "a vector has one direction only"
DEFICIENT = "k is above the rank of the base weight"
IN_BLOCK = re.compile(r"^.*?\b(\d+)\.(.+?)(?:\.(weight|bias))?$")
# The layer of a tensor that belongs to no block.
OUTSIDE = -1


def layer_and_kind(name: str) -> tuple[int, str]:
    """Return the layer and the kind of a parameter: (3, "self_attn.q_proj") of model.layers.3.self_attn.q_proj.weight."""
    inside = IN_BLOCK.match(name)
    if inside is None:
        return OUTSIDE, name.removesuffix(".weight").split(".", 1)[-1]
    return int(inside[1]), inside[2] + (".bias" if inside[3] == "bias" else "")


def update_records(
    base: Mapping[str, np.ndarray], update: Mapping[str, np.ndarray], params: ProbeParams, common: Mapping[str, str]
) -> tuple[pd.DataFrame, float]:
    """Return the table `weights` of the ``update`` of every tensor of ``base``, and the displacement of the whole model.

    The null of the effective rank is the mean of isotropic Gaussian updates of the same shape; that of the overlaps is
    the expectation of an update in random directions; norms have none. A stack of matrices (experts) gives its mean.
    """
    rows, updates = [], []
    for name, weight in base.items():
        measured, numbers = _tensor_numbers(weight.astype(np.float64), update[name], params)
        updates.append(measured)
        rows += [
            {
                **common,
                **_identity(name, weight.shape),
                "measure": measure,
                "variant": variant,
                "value": value,
                "null": null,
                "missing": _reason(measure, value, measured, weight.shape),
                "note": _note(variant, weight.shape),
            }
            for (measure, variant), (value, null) in numbers.items()
        ]
    return pd.DataFrame(rows), displacement(updates)


def missing_records(
    base: Mapping[str, np.ndarray], reason: str, params: ProbeParams, common: Mapping[str, str]
) -> pd.DataFrame:
    """Return the table `weights` of a model without an update that could be measured: all missing, for ``reason``."""
    rows = [
        {
            **common,
            **_identity(name, weight.shape),
            "measure": measure,
            "variant": variant,
            "value": np.nan,
            "null": np.nan,
            "missing": reason,
            "note": "",
        }
        for name, weight in base.items()
        for measure, variant in _measures(params)
    ]
    return pd.DataFrame(rows)


def leading(shape: tuple[int, ...], shares: Sequence[float]) -> list[int]:
    """Return the numbers of directions for ``shares`` of the smaller side of a matrix, at least 1."""
    side = min(shape[-2:]) if is_matrix(shape) else 1
    return [max(1, round(share * side)) for share in shares]


def isotropic_rank(shape: tuple[int, int], params: ProbeParams) -> float:
    """Return the mean effective rank of isotropic Gaussian matrices of ``shape``, which is that of their transposes."""
    return _isotropic_rank(max(shape), min(shape), params.null_draws, params.seed)


@cache
def _isotropic_rank(m: int, n: int, draws: int, seed: int) -> float:
    return float(effective_rank(isotropic_spectrum(m, n, False, draws, seed)).mean())


def _measures(params: ProbeParams) -> list[tuple[str, str]]:
    """Return measure and variant of every record of a tensor, in order."""
    overlaps = [(f"overlap_{side}", _variant(share)) for side in Overlap._fields for share in params.overlap_shares]
    plain = [
        ("base_norm", "frobenius"),
        ("update_norm", "frobenius"),
        ("relative_update_norm", "frobenius"),
        ("update_effective_rank", "singular"),
    ]
    return plain + overlaps


def _tensor_numbers(
    base: np.ndarray, update: np.ndarray, params: ProbeParams
) -> tuple[TensorUpdate, dict[tuple[str, str], tuple[float, float]]]:
    """Return the measured update of one tensor, and value and null of each of `_measures`."""
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
    """Return the number of directions behind a share of them."""
    if not (variant.startswith("share_") and is_matrix(shape)):
        return ""
    return f"k = {leading(shape, [float(variant.removeprefix('share_'))])[0]}"


def _identity(name: str, shape: tuple[int, ...]) -> dict:
    layer, kind = layer_and_kind(name)
    return {"tensor": name, "kind": kind, "layer": layer, "shape": "x".join(map(str, shape))}


def _reason(measure: str, value: float, measured: TensorUpdate, shape: tuple[int, ...]) -> str:
    """Return why ``value`` is missing, or nothing."""
    if not np.isnan(value):
        return ""
    if measure == "relative_update_norm":
        return "the base weight is zero"
    if not is_matrix(shape):
        return VECTOR
    return STILL if measured.norm == 0 else DEFICIENT
