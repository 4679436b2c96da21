"""How far two clouds share their leading directions: principal angles between subspaces."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np


def principal_angles(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Principal angles (k,), radians, ascending, between orthonormal bases ``a`` and ``b`` (d, k).

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
    """Mean cosine of the principal angles between orthonormal bases ``a`` and ``b`` (..., d, k); 0 to 1.

    (1/k) sum_i σ_i(a'b). For the leading directions of two models on the same prompts it is the prior
    study's preservation. Invariant to a common rotation and to isotropic scale, not to a rotation of one
    side; its chance level rises with k/d (`chance`).
    """
    return _mean_singular_value(np.swapaxes(a, -1, -2) @ b)


def preservation_sweep(a: np.ndarray, b: np.ndarray, ks: Sequence[int]) -> np.ndarray:
    """`preservation` of the first k columns of ``a`` and ``b`` (..., d, max(ks)), for every k: (len(ks), ...)."""
    cosines = np.swapaxes(a, -1, -2) @ b  # (..., k, k): the leading block is the matrix of a smaller k
    return np.stack([_mean_singular_value(cosines[..., :k, :k]) for k in ks])


def _mean_singular_value(matrix: np.ndarray) -> np.ndarray:
    """Mean singular value of ``matrix`` (..., k, k), to about 1e-8, at half the time of a singular value decomposition."""
    squares = np.linalg.eigvalsh(np.swapaxes(matrix, -1, -2) @ matrix)
    return np.sqrt(squares.clip(0)).mean(axis=-1)  # clip: a zero comes out as a tiny negative number


@cache
def chance(d: int, k: int, draws: int, seed: int) -> np.ndarray:
    """`preservation` of ``draws`` pairs of random k-subspaces of R^d: (draws,).

    By rotation invariance one of the two may be the first k axes: the cosines are then the singular
    values of the top k x k block of a Haar frame. Mean of the squared cosines: k/d.
    """
    if k >= d:
        return np.ones(draws)
    normal = np.random.default_rng([seed, d, k]).standard_normal((draws, d, k))
    frames, _ = np.linalg.qr(normal)  # Haar up to signs of columns, which no singular value sees
    return _mean_singular_value(frames[:, :k, :])
