"""The toy's closed forms beside the assignment problem solved exactly."""

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from tests.support.drift_toy import (
    GAP,
    RADIUS,
    ball,
    clusters,
    compress,
    course,
    intraclass_correlation,
    merge,
    rotate,
    shift,
    split,
)

START = clusters(3, prompts=20, per_prompt=6, d=4, seed=0)
BY = np.array([0.5, -3.0, 2.0, 0.0])


def w2(x, y):
    """Between clouds (n, d) of uniform weights: the best of all pairings."""
    cost = cdist(x, y, "sqeuclidean")
    return cost[linear_sum_assignment(cost)].mean() ** 0.5


def identity_cost(x, y):
    return np.square(x - y).sum(axis=1).mean()


KNOWN = {
    "shift": shift(BY),
    "compress": compress(0.3),
    "collapse": compress(0.0),
    "spread": compress(2.5),
    "merge": merge(0, 1, by=GAP - 2 * RADIUS),
    "split": split(2, by=3.0),
    "split between neighbours": split(1, by=GAP - 2 * RADIUS),
    "nothing": rotate(0.0),
}


@pytest.mark.parametrize("name", KNOWN)
@pytest.mark.parametrize("d", [2, 16])
def test_known_w2_is_that_of_the_best_pairing(name, d):
    start = clusters(3, prompts=20, per_prompt=6, d=d, seed=1)
    move = shift(np.resize(BY, d)) if name == "shift" else KNOWN[name]
    found = course(start, [move])
    assert found.w2[0] == pytest.approx(w2(*found.values), abs=1e-6)
    assert found.identity_cost[0] == pytest.approx(identity_cost(*found.values))
    assert found.w2[0] ** 2 == pytest.approx(found.identity_cost[0])


@pytest.mark.parametrize("angle", [1.0, np.pi / 2, np.pi])
def test_a_rotation_costs_the_identity_more_than_it_must(angle):
    found = course(START, [rotate(angle)])
    assert np.isnan(found.w2[0])
    assert found.identity_cost[0] == pytest.approx(identity_cost(*found.values))
    assert w2(*found.values) ** 2 < 0.999 * found.identity_cost[0]


def test_a_little_rotation_leaves_a_finite_cloud_paired():
    found = course(START, [rotate(0.01)])
    assert w2(*found.values) ** 2 == pytest.approx(found.identity_cost[0])


def test_a_rotation_keeps_all_distances_and_the_mean():
    before, after = course(START, [rotate(1.1, axes=(0, 3))]).values
    np.testing.assert_allclose(cdist(before, before), cdist(after, after), atol=1e-12)
    np.testing.assert_allclose(before.mean(axis=0), after.mean(axis=0), atol=1e-12)


def test_a_quarter_turn_of_a_square_moves_no_cloud():
    """W2 = 0 at an identity cost of 2 |x|²: the pairing is all that changed."""
    square = START._replace(values=np.array([[1.0, 1], [1, -1], [-1, 1], [-1, -1]]))
    found = course(square, [rotate(np.pi / 2)])
    assert w2(*found.values) == pytest.approx(0, abs=1e-12)
    assert found.identity_cost[0] == pytest.approx(4)


def test_compression_scales_every_distance():
    before, after = course(START, [compress(0.3)]).values
    np.testing.assert_allclose(cdist(after, after), 0.3 * cdist(before, before), atol=1e-12)


def test_by_hand():
    assert course(START, [shift(BY)]).w2[0] == pytest.approx(np.sqrt(0.25 + 9 + 4))
    assert course(START, [merge(0, 1, by=2.0)]).w2[0] == pytest.approx(np.sqrt(2 / 3))  # 2 of 3 clusters step 1
    assert course(START, [split(2, by=3.0)]).w2[0] == pytest.approx(1.5 * np.sqrt(1 / 3))


def distance_of_centres(values, one, other):
    """Along axis 0."""
    return values[START.cluster == other, 0].mean() - values[START.cluster == one, 0].mean()


def test_merging_and_splitting_do_what_they_say():
    before, merged = course(START, [merge(0, 1, by=1.5)]).values
    assert distance_of_centres(merged, 0, 1) == pytest.approx(distance_of_centres(before, 0, 1) - 1.5)
    np.testing.assert_array_equal(merged[START.cluster == 2], before[START.cluster == 2])
    before, after = course(START, [split(2, by=3.0)]).values
    own = np.sort(after[START.cluster == 2, 0])
    assert np.diff(own).max() > 3.0 and np.diff(np.sort(before[START.cluster == 2, 0])).max() < 1.0
    np.testing.assert_array_equal(after[START.cluster != 2], before[START.cluster != 2])


def test_a_course_keeps_rows_paired():
    moves = [shift(BY), compress(0.5), rotate(0.3), split(2, by=1.0)]
    found = course(START, moves)
    assert found.values.shape == (5, 120, 4)
    for i, move in enumerate(moves):
        np.testing.assert_array_equal(found.values[i + 1], move(found.values[i], START.cluster).values)
    np.testing.assert_array_equal(np.isnan(found.w2), [False, False, True, False])


def test_moves_without_a_closed_form_are_refused():
    with pytest.raises(ValueError, match="pass each other"):
        course(START, [merge(0, 1, by=GAP + 2 * RADIUS)])
    with pytest.raises(ValueError, match="pass each other"):
        course(START, [split(1, by=2 * GAP)])
    with pytest.raises(ValueError, match="factor -1"):
        compress(-1.0)


def test_what_is_refused_has_another_w2():
    """Clusters stepped through each other: the best pairing is cheaper than the identity."""
    step = (GAP + 1) * np.array([1.0, -1.0, 0.0])[START.cluster]
    crossed = START.values + step[:, None] * np.eye(4)[0]
    assert w2(START.values, crossed) ** 2 < 0.5 * identity_cost(START.values, crossed)


def test_rows_are_tokens_of_prompts():
    assert START.values.shape == (120, 4)
    assert np.bincount(START.prompt).tolist() == [6] * 20 and (np.diff(START.prompt) >= 0).all()
    assert START.position[:6].tolist() == [1, 2, 3, 4, 5, 6]
    assert np.bincount(START.cluster).tolist() == [40] * 3
    centres = GAP * START.cluster[:, None] * np.eye(4)[0]
    assert np.linalg.norm(START.values - centres, axis=1).max() <= RADIUS


@pytest.mark.parametrize("d", [1, 3, 20])
def test_the_ball_is_uniform(d):
    """Variance 1 / (d + 2) in every dimension, and |x|^d uniform."""
    x = ball(np.random.default_rng(0), 50_000, d)
    np.testing.assert_allclose(x.var(axis=0), RADIUS**2 / (d + 2), rtol=0.04)
    deciles = np.quantile(np.linalg.norm(x, axis=1) ** d, np.arange(0.1, 1, 0.1))
    np.testing.assert_allclose(deciles, np.arange(0.1, 1, 0.1), atol=0.01)


@pytest.mark.parametrize("shared", [0.0, 0.3, 0.5, 1.0])
def test_tokens_of_a_prompt_are_as_dependent_as_stated(shared):
    cloud = clusters(2, prompts=4000, per_prompt=4, d=3, seed=2, shared=shared)
    around = (cloud.values - GAP * cloud.cluster[:, None] * np.eye(3)[0]).reshape(4000, 4, 3)
    own = np.mean([np.corrcoef(around[:, 0, j], around[:, 1, j])[0, 1] for j in range(3)])
    others = np.mean([np.corrcoef(around[1:, 0, j], around[:-1, 1, j])[0, 1] for j in range(3)])
    assert own == pytest.approx(intraclass_correlation(shared), abs=0.03)
    assert others == pytest.approx(0, abs=0.03)


def test_the_same_seed_the_same_cloud():
    again = clusters(3, prompts=20, per_prompt=6, d=4, seed=0)
    assert again.values.tobytes() == START.values.tobytes()
    assert not np.array_equal(clusters(3, 20, 6, 4, seed=1).values, START.values)
