"""Models that moved as far from the base as a sibling did, in other directions: the update-size nulls.

Does a sibling differ from the base by where its training led, or only by how far? The answer needs models with
the sibling's update size and without its training. Each is base + u, with u made from the sibling's update Δ
tensor by tensor:

| kind | u | keeps | loses |
|---|---|---|---|
| isotropic | Gaussian noise scaled to the norm of Δ | the norm of each tensor | rank and directions |
| spectrum_preserving | Δ with random singular vectors | all singular values of each tensor | directions |
| negated | -Δ | rank, directions up to sign | the sense of the update |
| interpolation | t Δ, 0 <= t <= 1 | directions | size: t times |

A tensor is a parameter as torch names it, fused projections included; one of three or more axes is a stack of
matrices over its leading axes; a vector is a matrix with one column, so that its random singular vectors are a
random direction, and a scalar's a random sign. Buffers stay the base's. A tied parameter has one name, is moved
once and stays tied.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Literal, NamedTuple, get_args

import numpy as np
import torch
from torch import Tensor, nn

from stages.models.checkpoint import Checkpoint
from stages.models.loading import load_model

Kind = Literal["isotropic", "spectrum_preserving", "negated", "interpolation"]
KINDS: tuple[Kind, ...] = get_args(Kind)
# Relative gap allowed between the displacement of base + u and the one left after rounding to the model's precision.
ROUNDING = 0.02
# Tensors that an error message names; the rest is counted.
NAMED = 5


class PerturbationError(ValueError):
    """Two models cannot be subtracted, or a model cannot be moved; the message names what, and the fix."""


def update(base: Checkpoint, sibling: Checkpoint) -> dict[str, Tensor]:
    """Return Δ = W_sibling - W_base of every parameter, float32 on the CPU, under the names of the loaded models.

    Both are read in float32 through `load_model`, whatever precision they are measured in; at most two models are
    in memory. Exact for weights stored in bfloat16 but for elements that moved by orders of magnitude.
    Raises ModelError where one cannot be loaded, PerturbationError where they are not siblings: `difference`; or
    one is a GGUF file and the other is not, for its quantisation would count as update.
    """
    if (base.gguf is None) != (sibling.gguf is None):
        raise PerturbationError(
            f"{base.name} and {sibling.name}: one is a GGUF file, whose rounding would count as update; take safetensors for both"
        )
    cpu = torch.device("cpu")
    return difference(
        load_model(base, "float32", target=cpu), load_model(sibling, "float32", target=cpu), base.name, sibling.name
    )


@torch.no_grad()
def difference(
    base: nn.Module, sibling: nn.Module, base_name: str = "the base", sibling_name: str = "the sibling"
) -> dict[str, Tensor]:
    """Return Δ of every parameter of two loaded models, float32 on the CPU; ``sibling``'s weights are not kept.

    Raises PerturbationError, naming them, on parameters that only one has, that differ in shape, or that are
    quantised or not finite.
    """
    base_weights, sibling_weights = dict(base.named_parameters()), dict(sibling.named_parameters())
    wrong = {
        f"only in {base_name}": [name for name in base_weights if name not in sibling_weights],
        f"only in {sibling_name}": [name for name in sibling_weights if name not in base_weights],
        "of unlike shapes": [
            f"{name} {tuple(base_weights[name].shape)} and {tuple(sibling_weights[name].shape)}"
            for name in base_weights
            if name in sibling_weights and base_weights[name].shape != sibling_weights[name].shape
        ],
    }
    if any(wrong.values()):
        differences = "; ".join(
            f"{len(names)} {difference}: {_listed(names)}" for difference, names in wrong.items() if names
        )
        raise PerturbationError(
            f"{sibling_name} is no sibling of {base_name}, their parameters differ: {differences}; take two checkpoints of one architecture"
        )
    _require_plain(base_weights)
    _require_plain(sibling_weights)
    result = {name: sibling_weights[name].float().cpu() - base_weights[name].float().cpu() for name in base_weights}
    if bad := [name for name, delta in result.items() if not delta.isfinite().all()]:
        raise PerturbationError(
            f"{sibling_name} minus {base_name} is not finite in {len(bad)} parameters: {_listed(bad)}; check both checkpoints"
        )
    return result


class AppliedUpdate(NamedTuple):
    """The sizes of the update that `perturbed` gave to a model."""

    displacement: float
    """||W - W_base|| / ||W_base|| of the weights as they are, after rounding to the model's precision"""
    requested: float
    """displacement of base + u before rounding: the sibling's, t times for interpolation"""


@contextmanager
def perturbed(
    model: nn.Module, delta: Mapping[str, Tensor], kind: Kind, draw: int = 0, seed: int = 0, t: float | None = None
) -> Iterator[AppliedUpdate]:
    """Let ``model``, which holds the base's weights, hold base + u inside the context; after it, the base's again.

    ``delta``: what `update` returned, one tensor for each parameter. ``t`` belongs to interpolation alone. The
    weights are written in place, so that hooks and ties hold, and restored bit for bit, also after an error.
    A draw needs no disk and, beside model and ``delta``, one copy of the weights; `save_pretrained` inside the
    context writes the model as a checkpoint.
    Deterministic in (seed, kind, draw, name of the tensor), whatever the order of tensors; the random directions
    of a draw are common to all siblings, which makes their comparison a paired one.
    Raises PerturbationError on names or shapes that do not fit, on quantised weights, and where rounding to the
    model's precision alone moves the displacement by more than `ROUNDING`: a small update drowns in bfloat16.
    """
    _require_kind(kind, t)
    weights = dict(model.named_parameters())
    _require_fit(weights, delta)
    _require_plain(weights)
    originals: dict[str, Tensor] = {}
    try:
        with torch.no_grad():
            moved = requested = scale = 0.0  # sums of squares
            for name, weight in weights.items():
                originals[name] = weight.detach().clone()
                base = originals[name].double()
                u = perturb(name, delta[name].to(weight.device), kind, draw, seed, t)
                weight.copy_(base + u)
                moved += (weight.double() - base).square().sum().item()
                requested += u.square().sum().item()
                scale += base.square().sum().item()
        result = AppliedUpdate(_root_ratio(moved, scale), _root_ratio(requested, scale))
        _require_resolved(result, {weight.dtype for weight in weights.values()})
        yield result
    finally:
        with torch.no_grad():
            for name, weight in originals.items():
                weights[name].copy_(weight)


@torch.no_grad()
def perturb(name: str, delta: Tensor, kind: Kind, draw: int = 0, seed: int = 0, t: float | None = None) -> Tensor:
    """Return u of the parameter ``name`` from its update ``delta`` (any shape): float64, same shape and device.

    ||u|| = ||delta|| up to rounding for every kind but interpolation, where it is t ||delta||. The random numbers
    come from the CPU whatever the device. Cost of spectrum_preserving: see `_rotated`; the others are linear in
    the number of elements. Raises PerturbationError on an unknown kind, and on ``t`` where it does not belong.
    """
    _require_kind(kind, t)
    delta = delta.double()
    if kind == "negated":
        return -delta
    if kind == "interpolation":
        return t * delta
    generator = _generator(seed, kind, draw, name)
    if kind == "isotropic":
        noise = _normal(generator, tuple(delta.shape), delta.device)
        return noise * (delta.norm() / noise.norm())
    # A scalar and a vector are matrices with one column.
    stack = delta.reshape(-1, 1, 1) if delta.ndim == 0 else delta.reshape(1, -1, 1) if delta.ndim == 1 else delta
    stack = stack.reshape(-1, *stack.shape[-2:])  # (matrices, m, n)
    return torch.stack([_rotated(matrix, generator) for matrix in stack]).reshape(delta.shape)


def _rotated(delta: Tensor, generator: np.random.Generator) -> Tensor:
    """Return Q1 ``delta`` Q2' for Haar-random rotations Q1 and Q2: its singular values, Haar-random singular vectors.

    No singular value decomposition is needed, nor a square matrix of the longer side. For m >= n (else transposed):
    Q1 delta = F C, where C (n, n) is the triangular factor of delta and F (m, n) a Haar frame. Where m >= 2 n the
    frame of a Gaussian G is G R⁻¹ with R'R = G'G (there as accurate as Householder's, G being well conditioned),
    and G (R⁻¹ C Q2') is one product. That takes 6 m n² operations and four (m, n) matrices of float64, against 8 m n²
    for the singular values and Householder's frame, and 4 m³/3 for a rotation of the longer side. An embedding of
    100 000 x 4096 is 1e13 operations and 13 GB: minutes on a CPU.
    """
    m, n = delta.shape
    if m < n:
        return _rotated(delta.T, generator).T
    core = delta if m == n else torch.linalg.qr(delta, mode="r").R  # (n, n), core'core = delta'delta
    core = core @ _haar(_normal(generator, (n, n), delta.device))  # (n, n)
    normal = _normal(generator, (m, n), delta.device)
    if m < 2 * n:
        return _haar(normal) @ core
    factor = torch.linalg.cholesky(normal.T @ normal, upper=True)  # (n, n)
    return normal @ torch.linalg.solve_triangular(factor, core, upper=True)


def _haar(normal: Tensor) -> Tensor:
    """Return Haar-distributed orthonormal columns (m, n) from Gaussian ``normal`` (m, n), m >= n."""
    q, r = torch.linalg.qr(normal)
    return q * r.diagonal().sign()  # without the signs the distribution would be that of the QR's convention


def _generator(seed: int, kind: Kind, draw: int, name: str) -> np.random.Generator:
    digest = hashlib.sha256(f"{seed}/{kind}/{draw}/{name}".encode()).digest()
    return np.random.default_rng(np.frombuffer(digest, dtype="<u4"))


def _normal(generator: np.random.Generator, shape: tuple[int, ...], device: torch.device) -> Tensor:
    return torch.from_numpy(np.asarray(generator.standard_normal(shape))).to(device)


def _root_ratio(numerator: float, denominator: float) -> float:
    return float(np.sqrt(numerator / denominator)) if denominator else float("nan")


def _require_kind(kind: str, t: float | None) -> None:
    if kind not in KINDS:
        raise PerturbationError(f"kind {kind!r}: expected one of {', '.join(KINDS)}")
    if kind != "interpolation" and t is not None:
        raise PerturbationError(f"t = {t} with kind {kind!r}: only interpolation has a t; leave it out")
    if kind == "interpolation" and (t is None or not 0 <= t <= 1):
        raise PerturbationError(f"t = {t}: interpolation needs a t from 0 (the base) to 1 (the sibling)")


def _require_fit(weights: Mapping[str, Tensor], delta: Mapping[str, Tensor]) -> None:
    wrong = [name for name in weights if name not in delta or delta[name].shape != weights[name].shape]
    if wrong := wrong + [name for name in delta if name not in weights]:
        raise PerturbationError(
            f"the update does not fit the model in {len(wrong)} parameters: {_listed(wrong)}; make it with update(base, sibling) "
            "from the checkpoint that the model was loaded from"
        )


def _require_plain(weights: Mapping[str, Tensor]) -> None:
    packed = [name for name, weight in weights.items() if not weight.is_floating_point() or weight.is_meta]
    if packed:
        raise PerturbationError(
            f"{len(packed)} parameters are quantised or not in memory: {_listed(packed)}; load the model in float32 or bfloat16"
        )


def _require_resolved(applied: AppliedUpdate, dtypes: set[torch.dtype]) -> None:
    if (
        not abs(applied.displacement - applied.requested) <= ROUNDING * applied.requested
    ):  # so written, NaN is an error too
        names = ", ".join(sorted(str(dtype).removeprefix("torch.") for dtype in dtypes))
        raise PerturbationError(
            f"after rounding to {names} the displacement is {applied.displacement:.3g}, wanted {applied.requested:.3g} within "
            f"{ROUNDING:.0%}: load the model, and all that it is compared with, in float32"
        )


def _listed(names: list[str]) -> str:
    return ", ".join(names[:NAMED]) + (" …" if len(names) > NAMED else "")
