"""Similarity and dimension on many subsets of the same prompts, from what is computed once for all of them.

A measure of distances between prompts costs O(n² d) on all prompts; on a subset it only reads other rows and columns
of the same n x n matrix. Subsets are masks (B, n), 1 for the prompts of a subset, and sums over them are matrix
products: B subsets cost a few products of (B, n) with (n, n).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np


class NeighbourLists(NamedTuple):
    """For every point its nearest others, in ascending order."""

    indices: np.ndarray
    """(n, c)"""
    distances: np.ndarray
    """(n, c)"""


def subset_masks(quarters: np.ndarray, pairs: Sequence[tuple[int, int]], n: int) -> np.ndarray:
    """Masks (R · pairs, n), float64, of each pair of ``quarters`` (R, 4, q), partition by partition."""
    masks = np.zeros((len(quarters), len(pairs), n))
    for i, pair in enumerate(pairs):
        rows = quarters[:, list(pair)].reshape(len(quarters), -1)  # (R, 2 q)
        np.put_along_axis(masks[:, i], rows, 1.0, axis=1)
    return masks.reshape(-1, n)


def kernel_cka_subsets(a: np.ndarray, b: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Debiased CKA of kernel matrices ``a`` and ``b`` (n, n), zero diagonals, on each of ``masks`` (B, n): (B,).

    NaN where one side has no dispersion left after debiasing. The oracle is `similarity.kernel_cka` of the blocks.
    """
    count = masks.sum(axis=1)
    rows_a, rows_b = masks @ a, masks @ b  # (B, n)

    def hsic(product: np.ndarray, rows: np.ndarray, others: np.ndarray) -> np.ndarray:
        trace = _masked_sum(product, masks)
        totals = (rows * masks).sum(axis=1) * (others * masks).sum(axis=1)
        crossed = (rows * others * masks).sum(axis=1)
        return trace + totals / ((count - 1) * (count - 2)) - 2 / (count - 2) * crossed

    scale = hsic(a * a, rows_a, rows_a) * hsic(b * b, rows_b, rows_b)
    return np.where(scale > 0, hsic(a * b, rows_a, rows_b) / np.sqrt(np.where(scale > 0, scale, 1.0)), np.nan)


def rank_correlation_subsets(a: np.ndarray, b: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Spearman correlation of the off-diagonal values of symmetric ``a`` and ``b`` (n, n) on each of ``masks`` (B, n): (B,).

    All pairs are sorted once; the order inside a subset is what is left of it, so that no subset is sorted again. (The
    ranks of all prompts in place of the subset's own would make the spread a sixth too small.) Ties, which few
    distances have, are ranked in order.
    """
    first, second = np.triu_indices(len(a), 1)
    orders = [np.argsort(m[first, second], kind="stable") for m in (a, b)]
    sides = [(order, first[order], second[order]) for order in orders]
    rank = np.empty(len(first), np.float64)
    values = []
    for mask in masks.astype(bool):
        one, other = (order[mask[i] & mask[j]] for order, i, j in sides)  # pairs inside, ascending: (p,) each
        middle = (len(one) - 1) / 2
        rank[one] = np.arange(len(one)) - middle
        values.append(rank[other] @ (np.arange(len(other)) - middle) / (middle * (middle + 1) * (2 * middle + 1) / 3))
    return np.array(values)


def _masked_sum(matrix: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Sum (B,) of the block of ``matrix`` (n, n) that each of ``masks`` (B, n) selects."""
    return np.einsum("bn,bn->b", masks @ matrix, masks)


def neighbour_lists(squared: np.ndarray, candidates: int) -> NeighbourLists:
    """The ``candidates`` nearest others of every point, from squared distances (n, n); fewer where n is smaller."""
    candidates = min(candidates, len(squared) - 1)
    squared = squared.copy()
    np.fill_diagonal(squared, np.inf)
    near = np.argpartition(squared, candidates - 1, axis=1)[:, :candidates]
    found = np.take_along_axis(squared, near, axis=1)
    order = np.argsort(found, axis=1, kind="stable")
    return NeighbourLists(np.take_along_axis(near, order, axis=1), np.sqrt(np.take_along_axis(found, order, axis=1)))


def neighbour_lists_in_subsets(whole: NeighbourLists, masks: np.ndarray, k: int) -> Iterator[NeighbourLists]:
    """The ``k`` nearest others inside each of ``masks`` (B, n), for the points of the subset: indices (m, k) into all n.

    A point's neighbours in a subset are the first k of its ascending list that are in the subset. Raises ValueError
    where a list ends before: search more candidates (about 2 k + 8 √k for halves).
    """
    for mask in masks.astype(bool):
        rows = np.flatnonzero(mask)
        listed = whole.indices[rows]  # (m, c)
        inside = mask[listed]
        chosen = inside & (np.cumsum(inside, axis=1) <= k)
        if chosen.sum() != k * len(rows):
            raise ValueError(
                f"{listed.shape[1]} candidates hold fewer than {k} neighbours of a point in a subset of {len(rows)}: search more"
            )
        yield NeighbourLists(listed[chosen].reshape(-1, k), whole.distances[rows][chosen].reshape(-1, k))


def shared_neighbours(a: np.ndarray, b: np.ndarray, n: int) -> float:
    """Mean share of the neighbours ``a`` (m, k) of a point that are among ``b`` (m, k), indices below ``n``."""
    offsets = np.arange(len(a))[:, None] * n
    near = np.zeros(len(a) * n, bool)
    near[(a + offsets).ravel()] = True
    return float(near[(b + offsets).ravel()].mean())
