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
    """The nearest neighbours of every point, in ascending order of their distance."""

    indices: np.ndarray
    """(n, c) of the neighbours"""
    distances: np.ndarray
    """(n, c) to the neighbours"""


def subset_masks(quarters: np.ndarray, pairs: Sequence[tuple[int, int]], n: int) -> np.ndarray:
    """Return masks (R · pairs, n), float64, of each pair of ``quarters`` (R, 4, q), partition by partition."""
    masks = np.zeros((len(quarters), len(pairs), n))
    for i, pair in enumerate(pairs):
        rows = quarters[:, list(pair)].reshape(len(quarters), -1)  # (R, 2 q)
        np.put_along_axis(masks[:, i], rows, 1.0, axis=1)
    return masks.reshape(-1, n)


def kernel_cka_subsets(a: np.ndarray, b: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Return the debiased CKA of kernels ``a`` and ``b`` (n, n), zero diagonals, on each of ``masks`` (B, n): (B,).

    NaN where one side has no dispersion left after debiasing. The oracle is `similarity.kernel_cka` of the blocks.
    """
    count = masks.sum(axis=1)
    rows_a, rows_b = masks @ a, masks @ b  # (B, n)

    def hsic(product: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        trace = _masked_sum(product, masks)
        totals = (first * masks).sum(axis=1) * (second * masks).sum(axis=1)
        crossed = (first * second * masks).sum(axis=1)
        return trace + totals / ((count - 1) * (count - 2)) - 2 / (count - 2) * crossed

    scale = hsic(a * a, rows_a, rows_a) * hsic(b * b, rows_b, rows_b)
    return np.where(scale > 0, hsic(a * b, rows_a, rows_b) / np.sqrt(np.where(scale > 0, scale, 1.0)), np.nan)


def rank_correlation_subsets(a: np.ndarray, b: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Return Spearman's correlation of the off-diagonal values of two matrices on each of ``masks`` (B, n): (B,).

    ``a`` and ``b`` (n, n) are symmetric.

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
        pairs_a, pairs_b = (order[mask[i] & mask[j]] for order, i, j in sides)  # pairs inside, ascending: (p,) each
        middle = (len(pairs_a) - 1) / 2
        rank[pairs_a] = np.arange(len(pairs_a)) - middle
        square = middle * (middle + 1) * (2 * middle + 1) / 3
        values.append(rank[pairs_b] @ (np.arange(len(pairs_b)) - middle) / square)
    return np.array(values)


def _masked_sum(matrix: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Return the sum (B,) of the block of ``matrix`` (n, n) that each of ``masks`` (B, n) selects."""
    return np.einsum("bn,bn->b", masks @ matrix, masks)


def neighbour_lists(squared: np.ndarray, candidates: int) -> NeighbourLists:
    """Return the ``candidates`` nearest neighbours of every point, from squared distances (n, n); at most n - 1."""
    candidates = min(candidates, len(squared) - 1)
    squared = squared.copy()
    np.fill_diagonal(squared, np.inf)
    indices = np.argpartition(squared, candidates - 1, axis=1)[:, :candidates]
    values = np.take_along_axis(squared, indices, axis=1)
    order = np.argsort(values, axis=1, kind="stable")
    distances = np.sqrt(np.take_along_axis(values, order, axis=1))
    return NeighbourLists(np.take_along_axis(indices, order, axis=1), distances)


def neighbour_lists_in_subsets(whole: NeighbourLists, masks: np.ndarray, k: int) -> Iterator[NeighbourLists]:
    """Yield the ``k`` nearest neighbours inside each of ``masks`` (B, n), for its points: indices (m, k) into all n.

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
    """Return the mean share of the neighbours ``a`` (m, k) of a point that are in ``b`` (m, k), indices below ``n``."""
    offsets = np.arange(len(a))[:, None] * n
    in_a = np.zeros(len(a) * n, bool)
    in_a[(a + offsets).ravel()] = True
    return float(in_a[(b + offsets).ravel()].mean())
