"""Updates of a model's weights from its base's: how far, in how many directions and along which of them they moved.

The unit is one tensor: its base weight W and the update Δ = W' - W, both of one shape.

- A *matrix* (m, n), m outputs and n inputs where torch's linear layers are meant, has all the measures.
- A tensor of three or more axes is a stack of matrices over its leading axes (experts, for example): the
  measures of matrices come out in the shape of those axes.
- A *vector* or scalar (norm gains, biases; also a matrix with a single row or column) has one direction only,
  so that its rank and overlap would be 1 whatever was trained: it has a norm, and NaN for the rest.

Weights that were stored in bfloat16 carry rounding of about 1e-3 of each element, which counts as update.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from stages.geometry.spectrum import ROUNDING, Spectrum, effective_rank, factorise


class WeightError(ValueError):
    """Two tensors cannot be compared; the message names what was found and what was expected."""


def is_matrix(shape: tuple[int, ...]) -> bool:
    """Return whether a tensor of ``shape`` is a matrix, or a stack of them, with more than one row and column."""
    return len(shape) >= 2 and min(shape[-2:]) >= 2


def update_spectrum(update: np.ndarray) -> Spectrum:
    """Return the singular values of ``update`` (..., m, n), uncentred, for all measures of `stages.geometry.spectrum`.

    Through the smaller Gram matrix: m n min(m, n) operations and two copies in float64. The spectrum of an update
    without structure, to set it against, is `stages.geometry.chance.isotropic_spectrum` (m, n, uncentred).
    Invariant to orthogonal matrices on either side. Raises WeightError on a vector or scalar (`is_matrix`).
    """
    update = _finite(update)
    if not is_matrix(update.shape):
        raise WeightError(f"an update of shape {update.shape} has no spectrum: expected two or more rows and columns")
    return factorise(update, centred=False)


def update_rank(update: np.ndarray, eigen: bool = False) -> np.ndarray:
    """Return exp(-sum p ln p), p = s / sum s (s² when ``eigen``) of ``update`` (..., m, n): (...), 1 to min(m, n).

    NaN for an update that is zero, and for vectors and scalars. Invariant to orthogonal matrices on either side
    and to any factor: it tells few directions from many, however far they were followed. Source: the effective
    rank of Roy & Vetterli 2007, applied to the update. Raises WeightError on values that are not finite.
    """
    update = _finite(update)
    return effective_rank(update_spectrum(update), eigen) if is_matrix(update.shape) else np.array(np.nan)


class Overlap(NamedTuple):
    """The shares of an update's squared norm that lie inside the base's leading singular subspaces, for every k."""

    left: np.ndarray
    """(..., len(ks)) share in the span of the leading left singular vectors (outputs)"""
    right: np.ndarray
    """(..., len(ks)) share in the span of the leading right singular vectors (inputs)"""
    both: np.ndarray
    """(..., len(ks)) share in both spans; at most the smaller of the two"""


def overlap(update: np.ndarray, base: np.ndarray, ks: Sequence[int]) -> Overlap:
    """Return how much of ``update`` (..., m, n) the leading k singular directions of ``base`` hold, for each k.

    left ||U_k'Δ||² / ||Δ||², right ||Δ V_k||² / ||Δ||², both ||U_k'Δ V_k||² / ||Δ||²; 0 to 1, rising with k. One
    factorisation of the base serves all k. What a random update gives is `overlap_chance`. NaN for a zero update,
    for k above min(m, n) or the numerical rank of the base (its k-th direction is then rounding error), and for
    vectors and scalars. Invariant to orthogonal matrices on either side of both, and to factors of either.
    Raises WeightError on unlike shapes, values that are not finite, and k below 1.
    """
    update, base = _pair(update, base)
    _require_ks(ks)
    if not is_matrix(update.shape):
        return Overlap(*np.full((3, len(ks)), np.nan))
    m, n = update.shape[-2:]
    left, right, rank = _frames(base, min(max(ks), m, n))
    # Energy of the update along each direction: its sums over the first k are all that a sweep needs.
    left_energy = np.square(np.swapaxes(left, -1, -2) @ update).sum(axis=-1)  # (..., k)
    right_projection = update @ right  # (..., m, k)
    right_energy = np.square(right_projection).sum(axis=-2)  # (..., k)
    block_energy = np.square(np.swapaxes(left, -1, -2) @ right_projection)  # (..., k, k)
    block_sums = np.cumsum(np.cumsum(block_energy, axis=-1), axis=-2)  # (..., k, k), over the block up to each element
    sums = (
        np.cumsum(left_energy, axis=-1),
        np.cumsum(right_energy, axis=-1),
        np.diagonal(block_sums, axis1=-2, axis2=-1),
    )
    total = np.square(update).sum(axis=(-2, -1))[..., None]  # (..., 1)
    ks = np.asarray(ks)
    with np.errstate(invalid="ignore"):
        shares = [held[..., np.minimum(ks, held.shape[-1]) - 1] / total for held in sums]
    return Overlap(*(np.where(ks <= rank[..., None], share, np.nan) for share in shares))


def overlap_chance(shape: tuple[int, ...], ks: Sequence[int]) -> Overlap:
    """Return the expected `overlap` of an update (..., m, n) in random directions: k/m, k/n, k²/(m n), (len(ks),) each.

    Exact for any update whose singular vectors are random, whatever its singular values; the spread around it
    grows as its rank falls. NaN where `overlap` is NaN whatever the base: k above min(m, n), vectors, scalars.
    Raises WeightError on k below 1.
    """
    _require_ks(ks)
    if not is_matrix(shape):
        return Overlap(*np.full((3, len(ks)), np.nan))
    m, n = shape[-2:]
    k = np.where(np.asarray(ks) <= min(m, n), ks, np.nan)
    return Overlap(k / m, k / n, k**2 / (m * n))


class TensorUpdate(NamedTuple):
    """The measures of one tensor's update."""

    norm: float
    """||W' - W||"""
    base_norm: float
    """||W||"""
    relative_norm: float
    """||W' - W|| / ||W||, invariant to orthogonal matrices on either side and a common factor; NaN where W is zero"""
    effective_rank: np.ndarray
    """(...) by singular values: see `update_rank`"""
    overlap: Overlap
    chance: Overlap
    """expected overlap of an update in random directions: see `overlap_chance`"""


def tensor_update(base: np.ndarray, sibling: np.ndarray, ks: Sequence[int]) -> TensorUpdate:
    """Return all measures of the update from ``base`` to ``sibling`` (any one shape), float64; errors as `overlap`."""
    base, sibling = _pair(base, sibling)
    update = sibling - base
    norm, base_norm = float(np.linalg.norm(update)), float(np.linalg.norm(base))
    return TensorUpdate(
        norm,
        base_norm,
        _ratio(norm, base_norm),
        update_rank(update),
        overlap(update, base, ks),
        overlap_chance(base.shape, ks),
    )


def displacement(updates: Iterable[TensorUpdate]) -> float:
    """Return ||W' - W|| / ||W|| over all tensors of a model; a tied weight must come once. NaN if all W are zero."""
    squares = np.array([(update.norm**2, update.base_norm**2) for update in updates]).reshape(-1, 2)
    moved, scale = np.sqrt(squares.sum(axis=0))
    return _ratio(float(moved), float(scale))


def _frames(base: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return leading left (..., m, k), right (..., n, k) singular vectors of ``base``, and its numerical rank (...)."""
    m, n = base.shape[-2:]
    if m < n:
        right, left, rank = _frames(np.swapaxes(base, -1, -2), k)
        return left, right, rank
    spectrum = factorise(base, centred=False, k=k)
    rank = (spectrum.s**2 > ROUNDING * m * spectrum.s[..., :1] ** 2).sum(axis=-1)
    # QR keeps the span of the first k columns for every k, and is orthonormal where dividing by small s is not.
    left, _ = np.linalg.qr(base @ spectrum.basis)
    return left, spectrum.basis, rank


def _ratio(norm: float, base_norm: float) -> float:
    return norm / base_norm if base_norm else float("nan")


def _require_ks(ks: Sequence[int]) -> None:
    if not len(ks) or min(ks) < 1:
        raise WeightError(f"leading directions must be 1 or more, asked for {list(ks)}")


def _pair(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    a, b = _finite(a), _finite(b)
    if a.shape != b.shape:
        raise WeightError(f"tensors of unlike shapes {a.shape} and {b.shape}: expected one tensor of two models")
    return a, b


def _finite(tensor: np.ndarray) -> np.ndarray:
    tensor = np.asarray(tensor, np.float64)
    if not np.isfinite(tensor).all():
        raise WeightError(f"a tensor of shape {tensor.shape} holds values that are not finite: check the checkpoint")
    return tensor
