"""Fast replicates on halves against the plain measure of the half's rows."""

import numpy as np
import pytest

from stages.geometry.paired import alignment_subsets, predictivity_subsets, svcca_subsets
from stages.geometry.pairwise import (
    kernel_cka_subsets,
    neighbour_lists,
    neighbour_lists_in_subsets,
    rank_correlation_subsets,
    shared_neighbours,
    subset_masks,
)
from stages.geometry.similarity import (
    gaussian_kernel,
    kernel_cka,
    linear_predictivity,
    mutual_neighbours,
    nuclear_alignment,
    rsa,
    squared_distances,
    svcca,
)
from stages.statistics.half_sampling import PAIRS, quarters

N = 120


@pytest.fixture(scope="module", params=[8, 70])
def clouds(request):
    """Two related clouds, narrow enough for sums of moments and too wide for them."""
    generator = np.random.default_rng(request.param)
    x = generator.standard_normal((N, request.param)) / np.arange(1, request.param + 1) ** 0.7
    return x, x @ generator.standard_normal((request.param, request.param)) + 0.3 + 0.5 * generator.standard_normal(
        x.shape
    )


@pytest.fixture(scope="module")
def parts():
    return quarters(N, 3, 0)


def halves(parts):
    return [np.concatenate([part[a], part[b]]) for part in parts for a, b in PAIRS]


@pytest.mark.parametrize(
    ("fast", "plain"),
    [(alignment_subsets, nuclear_alignment), (svcca_subsets, svcca)],
    ids=["alignment", "svcca"],
)
def test_moments_give_the_value_of_the_rows(clouds, parts, fast, plain):
    found = fast(*clouds, parts, PAIRS)
    assert found.shape == (3, 6)
    np.testing.assert_allclose(found.ravel(), [plain(*(z[half] for z in clouds)) for half in halves(parts)], rtol=1e-9)


def test_predictivity_with_the_quarters_as_folds(clouds, parts):
    found = predictivity_subsets(*clouds, parts, PAIRS)
    interleaved = [np.stack([part[a], part[b]], axis=1).ravel() for part in parts for a, b in PAIRS]  # rows alternate
    plain = [linear_predictivity(*(z[rows] for z in clouds), folds=2) for rows in interleaved]
    if clouds[0].shape[1] <= parts.shape[2]:
        np.testing.assert_allclose(found.ravel(), plain, rtol=1e-9)
    else:
        np.testing.assert_allclose(found.mean(), np.mean(plain), atol=0.05)


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
    np.testing.assert_allclose(found, [rsa(*(squared_distances(z[half]) for z in clouds)) for half in halves(parts)], rtol=1e-9)


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
