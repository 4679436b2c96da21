"""Projection ratios on held-out words tell whether kinds of words are directions of their own, one under the other.

A kind's vector ℓ (`causal.category_vector`) is made of one half A of its words; the other half B is read. Where the
hierarchy is represented,

    g'ℓ / |ℓ|²     is 1 for words under the kind, 0 for others           of single words
    m'ℓ / |ℓ|²     is 1 for m the vector of a kind under it, 0 beside    of kinds, m made of B

which is ℓ ⊥ m - ℓ, the orthogonality of Park et al. 2025, with its magnitude. The angle itself says little:
shuffled labels have angles near 90 degrees too, and for unit vectors p, c the angle of p and c - p is never below 90.
In sample, on the words of which ℓ is made, the ratio is 1 by construction.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from stages.geometry.causal import CausalError, category_vector


class Tree(NamedTuple):
    """A tree of K kinds over W words."""

    parent: np.ndarray
    """(W,) index of the kind just above each word"""
    ancestry: np.ndarray
    """(K, K) bool: whether the column's kind is the row's, or above it"""

    @property
    def members(self) -> np.ndarray:
        """Return whether each word is under each kind: (W, K) bool."""
        return self.ancestry[self.parent]


class ProjectionRatios(NamedTuple):
    """The projection ratios of one split, or their mean over several; NaN where there is nothing to read."""

    members: np.ndarray
    """(K,) mean ratio of held-out words under each kind"""
    nonmembers: np.ndarray
    """(K,) mean ratio of held-out words that are not under the kind"""
    siblings: np.ndarray
    """(K,) mean ratio of held-out words of its siblings, the kinds under the same one: the sibling swap"""
    kinds: np.ndarray
    """(K, K) ratio of the row's vector, made of B, on the column's, made of A"""
    angles: np.ndarray
    """(K, K) degrees between the column's ℓ and the row's m - ℓ"""
    word_angles: np.ndarray
    """(K,) mean degrees between ℓ and g - ℓ over held-out words just under the kind"""

    @property
    def excess(self) -> np.ndarray:
        """Return members - nonmembers, (K,): 0 on average for labels without meaning."""
        return self.members - self.nonmembers


def tree(kinds: dict[str, str | None], words: dict[str, str]) -> Tree:
    """Return the tree of ``kinds`` (each with the one above it) and ``words`` (each with its kind), in their orders."""
    index = {kind: i for i, kind in enumerate(kinds)}
    ancestry = np.eye(len(kinds), dtype=bool)
    for kind, i in index.items():
        while (kind := kinds[kind]) is not None:
            ancestry[i, index[kind]] = True
    return Tree(np.array([index[kind] for kind in words.values()]), ancestry)


def siblings(hierarchy: Tree) -> np.ndarray:
    """Return whether two different kinds have the same kinds above them: (K, K) bool; the highest are siblings."""
    ancestors = hierarchy.ancestry & ~np.eye(len(hierarchy.ancestry), dtype=bool)
    return (ancestors[:, None] == ancestors[None]).all(axis=-1) & ~np.eye(len(ancestors), dtype=bool)


def split_ratios(words: np.ndarray, hierarchy: Tree, generator: np.random.Generator) -> ProjectionRatios:
    """Return the projection ratios of one random split of the coordinates g (W, d) of ``words``.

    Each kind's words are split into halves A and B; kinds above take the unions of their kinds' halves. Invariant to
    rotation and a common factor. Raises CausalError where a kind has fewer than 6 words, and on another number of
    labels than words. Source: Park et al. 2025, on held-out words.
    """
    words = np.asarray(words, np.float64)
    if len(hierarchy.parent) != len(words):
        raise CausalError(f"{len(hierarchy.parent)} labels for {len(words)} words: expected one for each")
    in_a = _random_half(hierarchy.parent, generator)
    members = hierarchy.members
    vectors_a, vectors_b = (_category_vectors(words, members & half[:, None]) for half in (in_a, ~in_a))  # (K, d)
    squares = (vectors_a**2).sum(axis=1)
    ratios = words[~in_a] @ vectors_a.T / squares  # (B, K)
    is_member, parent = members[~in_a], hierarchy.parent[~in_a]
    is_sibling = siblings(hierarchy)[parent]  # (B, K)
    angles = _angle(vectors_a[parent], words[~in_a] - vectors_a[parent])  # (B,), at the vector of the word's own kind
    return ProjectionRatios(
        members=_column_means(ratios, is_member),
        nonmembers=_column_means(ratios, ~is_member),
        siblings=_column_means(ratios, is_sibling),
        kinds=vectors_b @ vectors_a.T / squares,
        angles=_angle(vectors_a[None], vectors_b[:, None] - vectors_a[None]),
        word_angles=np.array(
            [angles[parent == kind].mean() if (parent == kind).any() else np.nan for kind in range(len(vectors_a))]
        ),
    )


def mean_ratios(words: np.ndarray, hierarchy: Tree, splits: int, seed: int) -> ProjectionRatios:
    """Return the mean of `split_ratios` over ``splits`` random splits; shapes, invariances and errors as there."""
    generator = np.random.default_rng(seed)
    ratios = [split_ratios(words, hierarchy, generator) for _ in range(splits)]
    return ProjectionRatios(*(np.mean(column, axis=0) for column in zip(*ratios, strict=True)))


def shuffled_ratios(words: np.ndarray, hierarchy: Tree, draws: int, seed: int) -> list[ProjectionRatios]:
    """Return `split_ratios` under labels without meaning: ``draws`` random deals of words to kinds, a split of each."""
    generator = np.random.default_rng(seed)
    return [split_ratios(words[generator.permutation(len(words))], hierarchy, generator) for _ in range(draws)]


def _random_half(parent: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Draw one half, rounded down, of the words of each kind: (W,) bool."""
    drawn = np.zeros(len(parent), bool)
    for kind in np.unique(parent):
        rows = np.flatnonzero(parent == kind)
        if len(rows) < 6:
            raise CausalError(
                f"kind {kind} has {len(rows)} words: expected 6 or more, half for its vector and half to read"
            )
        drawn[generator.permutation(rows)[: len(rows) // 2]] = True
    return drawn


def _category_vectors(words: np.ndarray, members: np.ndarray) -> np.ndarray:
    """Return the `category_vector` of each column of ``members`` (W, K): (K, d)."""
    return np.stack([category_vector(words[member]) for member in members.T])


def _column_means(values: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Return the mean (K,) of each column of ``values`` over the rows in ``mask``; NaN where there is none."""
    counts = mask.sum(axis=0)
    return np.where(counts, np.where(mask, values, 0).sum(axis=0) / np.maximum(counts, 1), np.nan)


def _angle(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the degrees between vectors along the last axis; NaN for a vector of length 0."""
    with np.errstate(invalid="ignore", divide="ignore"):
        cosine = (first * second).sum(axis=-1) / (np.linalg.norm(first, axis=-1) * np.linalg.norm(second, axis=-1))
    return np.degrees(np.arccos(np.clip(cosine, -1, 1)))
