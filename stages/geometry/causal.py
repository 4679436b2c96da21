"""The causal inner product of a language model, and concepts as vectors in it.

The unembedding γ(w) of a word w and the context λ(x), the final state from which logits are read, are dual: logits λ'γ
do not change under γ -> A^-T γ, λ -> A λ. With Σ the covariance of the unembedding's rows the coordinates

    g(w) = Σ^-1/2 (γ(w) - mean)        of words           `Metric.words`
    l(x) = Σ^+1/2 λ(x)                 of contexts        `Metric.contexts`

are the same for every such A up to a rotation, leave logits as they are (up to the mean word's, a constant of x), and
make the words' covariance the identity. The two roots are never mixed: a word takes Σ^-1/2, a context Σ^+1/2. Only
tokens that the tokenizer can emit belong into Σ: the others were never trained.

With V words near d dimensions the whitened Gram matrix is a projection whatever the words mean (V / d = 1.2: nothing
is to be seen; V / d >= 5: take `ledoit_wolf`). All in float64. Raises CausalError on shapes that do not fit and on
values that are not finite. Source: Park, Choe & Veitch 2024; Park, Choe, Jiang & Veitch 2025.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np

# An eigenvalue below this share of the largest is a direction in which nothing varies.
FLOOR = 1e-10
# Ledoit & Wolf's share of a multiple of the identity, or a ridge as a share of the mean variance; 0.0 for none.
Shrinkage = Literal["ledoit_wolf"] | float


class CausalError(ValueError):
    """Words or contexts do not fit; the message says what was found, what was expected and the fix."""


class Metric(NamedTuple):
    """The inner product of words in d dimensions; its roots (d, d) are symmetric and inverse to each other."""

    mean: np.ndarray
    """(d,) mean of the words"""
    root: np.ndarray
    """Σ^+1/2"""
    inverse_root: np.ndarray
    """Σ^-1/2"""

    def words(self, unembedding: np.ndarray) -> np.ndarray:
        """Return the coordinates g (n, d) of rows γ (n, d) of the unembedding."""
        return (_rows(unembedding, self) - self.mean) @ self.inverse_root

    def contexts(self, states: np.ndarray) -> np.ndarray:
        """Return the coordinates l (n, d) of contexts λ (n, d), or of differences of contexts."""
        return _rows(states, self) @ self.root

    def as_context(self, direction: np.ndarray) -> np.ndarray:
        """Return λ (n, d) to add to a context so that l moves by ``direction`` (n, d): the inverse of `contexts`.

        A concept vector ℓ found among words has in λ the form Σ^-1/2 ℓ: added, it raises the logits of the words with a
        large g'ℓ.
        """
        return _rows(direction, self) @ self.inverse_root


def causal_metric(unembedding: np.ndarray, shrinkage: Shrinkage = "ledoit_wolf") -> Metric:
    """Return the causal metric of the rows γ (V, d) of ``unembedding``, one row for each token that can be emitted.

    Covariance with V in the denominator, shrunk; raises CausalError where it is singular without shrinkage. Source:
    Park, Choe & Veitch 2024; Ledoit & Wolf 2004.
    """
    words = _finite(unembedding, "words")
    mean = words.mean(axis=0)
    values, vectors = np.linalg.eigh(_covariance(words - mean, shrinkage))
    if values[0] <= FLOOR * values[-1]:
        raise CausalError(
            f"the covariance of {len(words)} words in {words.shape[1]} dimensions is singular: expected more words than "
            "dimensions, or shrinkage"
        )
    return Metric(mean, (vectors * np.sqrt(values)) @ vectors.T, (vectors / np.sqrt(values)) @ vectors.T)


def euclidean_metric(unembedding: np.ndarray) -> Metric:
    """Return the control metric: the same centring, one scale for all dimensions, so that words have total variance d.

    Raises CausalError where all words are equal.
    """
    words = _finite(unembedding, "words")
    mean, scale = words.mean(axis=0), float(np.sqrt(words.var(axis=0).mean()))
    if scale == 0:
        raise CausalError("all words are equal: expected words that differ")
    identity = np.eye(words.shape[1])
    return Metric(mean, scale * identity, identity / scale)


def category_vector(members: np.ndarray) -> np.ndarray:
    """Return the vector ℓ (d,) of a category from the coordinates g (n, d) of its members, with its length.

    The direction is Σ_n^-1 m, m and Σ_n mean and Ledoit-Wolf covariance of the members: the one in which they agree;
    the length is m's share of it, so that members have g'ℓ / |ℓ|² of mean 1 (in sample: an identity, no finding).
    Equivariant to rotation; scales with a common factor. Raises CausalError below 3 members. Source: Park et al. 2025.
    """
    members = _finite(members, "members")
    if len(members) < 3:
        raise CausalError(
            f"a category of {len(members)} members: expected 3 or more, of which a covariance is estimated"
        )
    mean = members.mean(axis=0)
    direction = _shrunk_solve(members - mean, mean)
    direction /= np.linalg.norm(direction)
    return (mean @ direction) * direction


def discriminant(positive: np.ndarray, negative: np.ndarray) -> np.ndarray:
    """Return the unit direction w (d,) of Fisher's discriminant, S^-1 (m+ - m-) of contexts (n, d) and (m, d).

    S is the pooled Ledoit-Wolf covariance within the two. w reads l: it is a covector there, the logit of one class
    against the other up to a constant. Equivariant to rotation. Raises CausalError where a side has fewer than 2 rows
    or the means coincide. Source: Fisher 1936; Ledoit & Wolf 2004.
    """
    sides = [_finite(side, "contexts") for side in (positive, negative)]
    if min(map(len, sides)) < 2:
        raise CausalError(f"{len(sides[0])} and {len(sides[1])} contexts: expected 2 or more on each side")
    means = [side.mean(axis=0) for side in sides]
    pooled = np.concatenate([side - mean for side, mean in zip(sides, means, strict=True)])
    direction = _shrunk_solve(pooled, means[0] - means[1])
    if not (length := np.linalg.norm(direction)) > 0:
        raise CausalError("the two sides have one mean: nothing tells them apart")
    return direction / length


def energy_projector(deltas: np.ndarray, energy: float) -> np.ndarray:
    """Return the fewest singular directions of ``deltas`` (n, d) with ``energy`` of Σ s²: orthonormal columns (d, k).

    ``energy`` is a share of what the deltas sum to in squared length. Equivariant to rotation. Raises CausalError on
    shares outside (0, 1] and where all deltas are 0.
    """
    if not 0 < energy <= 1:
        raise CausalError(f"energy {energy}: expected a share above 0 and up to 1")
    _, s, right = np.linalg.svd(_finite(deltas, "deltas"), full_matrices=False)
    if not s[0] > 0:
        raise CausalError("all deltas are 0: they span nothing")
    shares = np.cumsum(s**2) / np.sum(s**2)
    return right[: int(np.searchsorted(shares, energy - 1e-12)) + 1].T


class Simplex(NamedTuple):
    """The measures of how near the vectors of m siblings are to the corners of a regular simplex."""

    edge_variation: float
    """sd / mean of the m (m - 1) / 2 distances: 0 for a regular simplex"""
    cosine: float
    """mean cosine between two corners seen from their centre: -1 / (m - 1) where all are equally far, simplex or not"""
    cosine_sd: float
    """sd of these cosines: 0 for a regular simplex"""
    rank_share: float
    """effective number of directions / (m - 1): 1 for a regular simplex, 1 / (m - 1) for points on a line"""


def simplex(corners: np.ndarray) -> Simplex:
    """Measure how near the vectors ``corners`` (m, d) of m >= 3 siblings are to a regular simplex.

    Invariant to rotation, translation and a common factor. Raises CausalError below 3 siblings and where one lies at
    the centre of all.
    """
    corners = _finite(corners, "siblings")
    m = len(corners)
    if m < 3:
        raise CausalError(f"{m} siblings: expected 3 or more corners")
    centred = corners - corners.mean(axis=0)
    lengths = np.linalg.norm(centred, axis=1)
    if not lengths.min() > 0:
        raise CausalError("a sibling lies at the centre of all: it has no direction from there")
    pairs = np.triu_indices(m, 1)
    edges = np.linalg.norm(corners[pairs[0]] - corners[pairs[1]], axis=1)
    cosines = (centred @ centred.T / np.outer(lengths, lengths))[pairs]
    share = np.linalg.svd(centred, compute_uv=False) ** 2
    share = share[share > FLOOR * share.sum()] / share.sum()
    return Simplex(
        float(edges.std() / edges.mean()),
        float(cosines.mean()),
        float(cosines.std()),
        float(np.exp(-(share * np.log(share)).sum()) / (m - 1)),
    )


def _covariance(centred: np.ndarray, shrinkage: Shrinkage) -> np.ndarray:
    """Return the covariance (d, d) of rows (n, d) whose mean is 0, with n in the denominator."""
    if shrinkage == "ledoit_wolf":
        from sklearn.covariance import ledoit_wolf

        return ledoit_wolf(centred, assume_centered=True)[0]
    if not shrinkage >= 0:
        raise CausalError(f"shrinkage {shrinkage}: expected ledoit_wolf, or a ridge of 0 or more")
    covariance = centred.T @ centred / len(centred)
    return covariance + shrinkage * np.trace(covariance) / len(covariance) * np.eye(len(covariance))


def _shrunk_solve(centred: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Return S^-1 ``target``, S the Ledoit-Wolf covariance (1 - a) C'C / n + a m I of rows (n, d) whose mean is 0.

    With fewer rows than dimensions through an n x n matrix (Woodbury's identity).
    """
    from sklearn.covariance import ledoit_wolf_shrinkage

    n, d = centred.shape
    share = ledoit_wolf_shrinkage(centred, assume_centered=True)
    ridge = share * np.square(centred).sum() / n / d
    if not ridge > 0:
        return np.linalg.pinv(centred.T @ centred / n) @ target
    scaled = centred * np.sqrt((1 - share) / n)
    if n >= d:
        return np.linalg.solve(scaled.T @ scaled + ridge * np.eye(d), target)
    inner = np.linalg.solve(scaled @ scaled.T + ridge * np.eye(n), scaled @ target)
    return (target - scaled.T @ inner) / ridge


def _rows(values: np.ndarray, metric: Metric) -> np.ndarray:
    values = np.asarray(values, np.float64)
    if values.shape[-1] != len(metric.mean):
        raise CausalError(
            f"rows of width {values.shape[-1]}: expected {len(metric.mean)}, the width of the unembedding"
        )
    return values


def _finite(values: np.ndarray, noun: str) -> np.ndarray:
    values = np.asarray(values, np.float64)
    if values.ndim != 2 or not len(values):
        raise CausalError(f"{noun} of shape {values.shape}: expected (n, d), a row each")
    if bad := int((~np.isfinite(values)).any(axis=1).sum()):
        raise CausalError(f"{bad} of {len(values)} {noun} hold NaN or infinity: expected finite values")
    return values
