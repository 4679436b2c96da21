"""Principal angles between subspaces: how far two clouds share their leading directions."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np


def principal_angles(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the principal angles (k,), radians, ascending, between orthonormal bases ``a`` and ``b`` (d, k).

    atan2 of the sines σ(b - a a'b) and the cosines σ(a'b): accurate for small angles, where the arccosine
    keeps half the digits, and for large ones, where the arcsine does. (scipy 1.17's subspace_angles
    returns 1.5e-8 for an angle of 1e-10 when another is above 45 degrees.) Invariant to a rotation of both
    and to a change of basis of either. Source: Björck & Golub 1973.
    """
    shared = a.T @ b  # (k, k)
    cosines = np.linalg.svd(shared, compute_uv=False)  # descending: ascending angles
    sines = np.linalg.svd(b - a @ shared, compute_uv=False)[::-1]
    return np.arctan2(sines, cosines)


def preservation(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the mean cosine of the principal angles between orthonormal bases ``a`` and ``b`` (..., d, k); 0 to 1.

    (1/k) sum_i σ_i(a'b). For the leading directions of two models on the same prompts it is the prior
    study's preservation. Invariant to a common rotation and to isotropic scale, not to a rotation of one
    side; its chance level rises with k/d (`preservation_chance`).
    """
    return _mean_singular_value(np.swapaxes(a, -1, -2) @ b)


def preservation_sweep(a: np.ndarray, b: np.ndarray, ks: Sequence[int]) -> np.ndarray:
    """Return `preservation` of the first k columns of ``a``, ``b`` (..., d, max(ks)), for every k: (len(ks), ...)."""
    cosines = np.swapaxes(a, -1, -2) @ b  # (..., k, k): the leading block is the matrix of a smaller k
    return np.stack([_mean_singular_value(cosines[..., :k, :k]) for k in ks])


def projection_overlap(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return ‖a'b‖² / k, the mean squared cosine of principal angles of orthonormal ``a``, ``b`` (..., d, k); 0 to 1.

    The share of either subspace that lies in the other; expected k/d for random ones. Invariances as `preservation`.
    Source: Golub & Van Loan. (The prior study divided by k twice.)
    """
    return np.square(np.swapaxes(a, -1, -2) @ b).sum(axis=(-1, -2)) / a.shape[-1]


def projection_overlap_sweep(a: np.ndarray, b: np.ndarray, ks: Sequence[int]) -> np.ndarray:
    """Return `projection_overlap` of first k columns of ``a``, ``b`` (..., d, max(ks)), for every k: (len(ks), ...)."""
    squares = np.square(np.swapaxes(a, -1, -2) @ b)  # (..., k, k)
    return np.stack([squares[..., :k, :k].sum(axis=(-1, -2)) / k for k in ks])


def grassmann_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Return the geodesic distance √(sum θ²), radians, θ the principal angles of orthonormal ``a`` and ``b`` (d, k).

    0 to √k π/2; a metric. Small distances are exact to rounding, as `principal_angles` are. Invariances as
    `preservation`. Source: Edelman, Arias & Smith 1998.
    """
    return float(np.linalg.norm(principal_angles(a, b)))


def grassmann_sweep(a: np.ndarray, b: np.ndarray, ks: Sequence[int]) -> np.ndarray:
    """Return `grassmann_distance` of first k columns of ``a``, ``b`` (..., d, max(ks)), for every k: (len(ks), ...).

    Computed by the arccosine, which loses half the digits of angles near zero: for many subsets, not for two equal
    subspaces.
    """
    cosines = np.swapaxes(a, -1, -2) @ b  # (..., k, k)
    angles = [np.arccos(np.linalg.svd(cosines[..., :k, :k], compute_uv=False).clip(0, 1)) for k in ks]
    return np.stack([np.linalg.norm(angle, axis=-1) for angle in angles])


def captured_variance(x: np.ndarray, leading: np.ndarray, foreign: np.ndarray) -> float:
    """Return the variance of ``x`` (n, d) inside ``foreign``, over that inside its ``leading`` subspace: 0 to 1.

    ‖X foreign‖² / ‖X leading‖² of bases (d, k): directions count by the variance they carry, so that a tail of nearly
    equal ones, whose order is noise, costs little. By chance (k/d) ‖X‖² / ‖X leading‖². Not symmetric: ``x`` and
    ``leading`` are of one model, ``foreign`` is the leading subspace of the second. Centre X to speak of variance.
    Invariant to a common rotation and to isotropic scale. Source: variance explained in another's principal components,
    as cross-validated component analyses score it.
    """
    return float(np.square(x @ foreign).sum() / np.square(x @ leading).sum())


def _mean_singular_value(matrix: np.ndarray) -> np.ndarray:
    """Return the mean singular value of ``matrix`` (..., k, k), to about 1e-8, in half the time of a decomposition."""
    squares = np.linalg.eigvalsh(np.swapaxes(matrix, -1, -2) @ matrix)
    return np.sqrt(squares.clip(0)).mean(axis=-1)  # clip: a zero comes out as a tiny negative number


@cache
def preservation_chance(d: int, k: int, draws: int, seed: int) -> np.ndarray:
    """Draw `preservation` of ``draws`` pairs of random k-subspaces of R^d: (draws,).

    By rotation invariance one of the two may be the first k axes: the cosines are then the singular
    values of the top k x k block of a Haar frame. Mean of the squared cosines: k/d.
    """
    if k >= d:
        return np.ones(draws)
    return _mean_singular_value(_random_blocks(d, k, draws, seed))


@cache
def grassmann_chance(d: int, k: int, draws: int, seed: int) -> float:
    """Return the mean `grassmann_distance` of ``draws`` pairs of random k-subspaces of R^d."""
    if k >= d:
        return 0.0
    cosines = np.linalg.svd(_random_blocks(d, k, draws, seed), compute_uv=False).clip(0, 1)  # (draws, k)
    return float(np.linalg.norm(np.arccos(cosines), axis=-1).mean())


def _random_blocks(d: int, k: int, draws: int, seed: int) -> np.ndarray:
    """Draw top blocks (draws, k, k) of orthonormal frames (d, k), Haar up to signs, which no singular value sees.

    One frame at a time: a thousand of them at d = 4096 and k = 100 would take 3 GB.
    """
    generator = np.random.default_rng([seed, d, k])
    return np.stack([np.linalg.qr(generator.standard_normal((d, k)))[0][:k] for _ in range(draws)])
