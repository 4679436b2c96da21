"""Whether kinds of words are directions of their own, one under the other: projection ratios on words held out.

A kind's vector ℓ (`causal.category_vector`) is made of one half A of its words; the other half B is read. Where the
hierarchy is represented,

    g'ℓ / |ℓ|²     is 1 for words under the kind, 0 for others           of single words
    m'ℓ / |ℓ|²     is 1 for m the vector of a kind under it, 0 beside    of kinds, m made of B

which is ℓ ⊥ m - ℓ, the orthogonality of Park et al. 2025, with its magnitude. The angle itself is beside and says little:
shuffled labels have angles near 90 degrees too, and of unit vectors p, c the angle of p and c - p is never below 90. In
sample, on the words of which ℓ is made, the ratio is 1 by construction.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from stages.geometry.causal import CausalError, category_vector


class Tree(NamedTuple):
    """K kinds over W words."""

    parent: np.ndarray
    """(W,) index of the kind just above each word"""
    under: np.ndarray
    """(K, K) bool: whether the column's kind is the row's, or above it"""

    @property
    def members(self) -> np.ndarray:
        """(W, K) bool: whether the word is under the kind."""
        return self.under[self.parent]


class Ratios(NamedTuple):
    """Of one split, or the mean over several; NaN where there is nothing to read."""

    members: np.ndarray
    """(K,) mean ratio of held-out words under each kind"""
    others: np.ndarray
    """(K,) of held-out words that are not"""
    siblings: np.ndarray
    """(K,) of held-out words of its siblings, the kinds under the same one: the sibling swap"""
    kinds: np.ndarray
    """(K, K) ratio of the row's vector, made of B, on the column's, made of A"""
    angles: np.ndarray
    """(K, K) degrees between the column's ℓ and the row's m - ℓ"""
    word_angles: np.ndarray
    """(K,) mean degrees between ℓ and g - ℓ over held-out words just under the kind"""

    @property
    def excess(self) -> np.ndarray:
        """(K,) members - others: 0 on average for labels without meaning."""
        return self.members - self.others


def tree(kinds: dict[str, str | None], words: dict[str, str]) -> Tree:
    """Of kinds (each with the one above it) and words (each with its kind), in their orders."""
    place = {kind: i for i, kind in enumerate(kinds)}
    under = np.eye(len(kinds), dtype=bool)
    for kind, i in place.items():
        while (kind := kinds[kind]) is not None:
            under[i, place[kind]] = True
    return Tree(np.array([place[kind] for kind in words.values()]), under)


def siblings(of: Tree) -> np.ndarray:
    """(K, K) bool: other kinds with the same kinds above; of the highest ones, the other highest."""
    above = of.under & ~np.eye(len(of.under), dtype=bool)
    return (above[:, None] == above[None]).all(axis=-1) & ~np.eye(len(above), dtype=bool)


def split_ratios(words: np.ndarray, of: Tree, generator: np.random.Generator) -> Ratios:
    """Of coordinates g (W, d), each kind's words split at random into halves A and B, kinds above taking their unions.

    Invariant to rotation and a common factor. Raises CausalError where a kind has fewer than 6 words.
    """
    words = np.asarray(words, np.float64)
    if len(of.parent) != len(words):
        raise CausalError(f"{len(of.parent)} labels for {len(words)} words: expected one for each")
    used = _half(of.parent, generator)
    members = of.members
    made, read = (_vectors(words, members & side[:, None]) for side in (used, ~used))  # (K, d) of A and of B
    square = (made**2).sum(axis=1)
    ratio = words[~used] @ made.T / square  # (B, K)
    inside, direct = members[~used], of.parent[~used]
    beside = siblings(of)[direct]  # (B, K)
    rest = words[~used][:, None] - made[direct][:, None]  # (B, 1, d), from the vector of the word's own kind
    own = _angle(made[direct], rest[:, 0])
    word_angles = np.array(
        [own[direct == kind].mean() if (direct == kind).any() else np.nan for kind in range(len(made))]
    )
    return Ratios(
        _mean(ratio, inside), _mean(ratio, ~inside), _mean(ratio, beside), read @ made.T / square,
        _angle(made[None], read[:, None] - made[None]), word_angles,
    )  # fmt: skip


def mean_ratios(words: np.ndarray, of: Tree, splits: int, seed: int) -> Ratios:
    """The mean over random splits."""
    generator = np.random.default_rng(seed)
    found = [split_ratios(words, of, generator) for _ in range(splits)]
    return Ratios(*(np.mean(column, axis=0) for column in zip(*found, strict=True)))


def shuffled_ratios(words: np.ndarray, of: Tree, draws: int, seed: int) -> list[Ratios]:
    """Of labels without meaning: words dealt out to the kinds at random, one split of each deal."""
    generator = np.random.default_rng(seed)
    return [split_ratios(words[generator.permutation(len(words))], of, generator) for _ in range(draws)]


def _half(parent: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """(W,) bool: one half, rounded down, of the words of each kind."""
    used = np.zeros(len(parent), bool)
    for kind in np.unique(parent):
        own = np.flatnonzero(parent == kind)
        if len(own) < 6:
            raise CausalError(
                f"kind {kind} has {len(own)} words: expected 6 or more, half for its vector and half to read"
            )
        used[generator.permutation(own)[: len(own) // 2]] = True
    return used


def _vectors(words: np.ndarray, members: np.ndarray) -> np.ndarray:
    """(K, d) of the category of each column of ``members`` (W, K)."""
    return np.stack([category_vector(words[own]) for own in members.T])


def _mean(values: np.ndarray, where: np.ndarray) -> np.ndarray:
    """(K,) of each column over its rows; NaN where there is none."""
    counts = where.sum(axis=0)
    return np.where(counts, np.where(where, values, 0).sum(axis=0) / np.maximum(counts, 1), np.nan)


def _angle(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Degrees between vectors along the last axis; NaN for a vector of length 0."""
    with np.errstate(invalid="ignore", divide="ignore"):
        cosine = (one * other).sum(axis=-1) / (np.linalg.norm(one, axis=-1) * np.linalg.norm(other, axis=-1))
    return np.degrees(np.arccos(np.clip(cosine, -1, 1)))
