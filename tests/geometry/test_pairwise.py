"""Fast replicates on halves from distances against the plain measure of the half's rows."""

import numpy as np
import pytest

from stages.geometry.pairwise import (
    kernel_cka_subsets,
    neighbour_lists,
    neighbour_lists_in_subsets,
    rank_correlation_subsets,
    shared_neighbours,
    subset_masks,
)
from stages.geometry.similarity import gaussian_kernel, kernel_cka, mutual_neighbours, rsa, squared_distances
from stages.statistics.half_sampling import PAIRS, quarters
from tests.support.halved_clouds import PROMPTS as N
from tests.support.halved_clouds import WIDTHS, halves, related_clouds


@pytest.fixture(scope="module", params=WIDTHS)
def clouds(request):
    return related_clouds(request.param)


@pytest.fixture(scope="module")
def parts():
    return quarters(N, 3, 0)


def test_masks_hold_the_rows_of_each_half(parts):
    masks = subset_masks(parts, PAIRS, N)
    assert [sorted(half) for half in halves(parts)] == [list(np.flatnonzero(mask)) for mask in masks]


def test_kernels_of_masks(clouds, parts):
    kernels = [gaussian_kernel(squared_distances(z)) for z in clouds]
    found = kernel_cka_subsets(*kernels, subset_masks(parts, PAIRS, N))
    plain = [kernel_cka(*(k[np.ix_(half, half)] for k in kernels)) for half in halves(parts)]
    np.testing.assert_allclose(found, plain, rtol=1e-9)


def test_rank_correlation_of_masks(clouds, parts):
    distances = [squared_distances(z) for z in clouds]
    found = rank_correlation_subsets(*distances, subset_masks(parts, PAIRS, N))
    np.testing.assert_allclose(
        found, [rsa(*(squared_distances(z[half]) for z in clouds)) for half in halves(parts)], rtol=1e-9
    )


def test_neighbours_inside_a_half(clouds, parts):
    near = [neighbour_lists(squared_distances(z), N) for z in clouds]
    masks = subset_masks(parts, PAIRS, N)
    found = [
        shared_neighbours(a.indices, b.indices, N)
        for a, b in zip(*(neighbour_lists_in_subsets(z, masks, 5) for z in near), strict=True)
    ]
    plain = [mutual_neighbours(*(squared_distances(z[np.sort(half)]) for z in clouds), k=5) for half in halves(parts)]
    np.testing.assert_allclose(found, plain, atol=1e-12)


def test_distances_inside_a_half_are_ascending_and_those_of_the_rows(clouds, parts):
    x = clouds[0]
    masks = subset_masks(parts, PAIRS, N)
    inside = next(neighbour_lists_in_subsets(neighbour_lists(squared_distances(x), N), masks, 4))
    rows = np.flatnonzero(masks[0])
    plain = np.sort(np.sqrt(squared_distances(x)[np.ix_(rows, rows)]), axis=1)[:, 1:5]
    np.testing.assert_allclose(inside.distances, plain, rtol=1e-7)


def test_too_few_candidates_are_an_error(clouds, parts):
    near = neighbour_lists(squared_distances(clouds[0]), 6)
    with pytest.raises(ValueError, match="search more"):
        list(neighbour_lists_in_subsets(near, subset_masks(parts, PAIRS, N), 6))
