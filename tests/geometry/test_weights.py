"""Updates of known size, rank and direction, the sweep against plain projections, and random updates at chance."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.geometry import weights
from stages.geometry.chance import isotropic_spectrum
from stages.geometry.spectrum import effective_rank

KS = (1, 2, 5)


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def orthogonal(d, seed=0):
    return np.linalg.qr(normal(d, d, seed=seed))[0]


def known(m=12, n=8, seed=0):
    """A base weight (m, n) with singular values n..1, and all of its left (m, m) and right (n, n) directions."""
    left, right = orthogonal(m, seed), orthogonal(n, seed + 1)
    return left[:, :n] @ np.diag(np.arange(n, 0, -1.0)) @ right.T, left, right


def naive_overlap(update, base, k):
    left, _, right = np.linalg.svd(base, full_matrices=False)
    left, right, total = left[:, :k], right[:k].T, np.linalg.norm(update) ** 2
    onto = [left @ left.T @ update, update @ right @ right.T, left @ left.T @ update @ right @ right.T]
    return [np.linalg.norm(part) ** 2 / total for part in onto]


@given(factor=st.floats(1e-6, 1e3), shape=st.sampled_from([(), (5,), (4, 3), (2, 4, 3)]))
def test_an_update_along_the_weight_itself_has_its_factor_as_relative_norm(factor, shape):
    base = np.asarray(normal(*shape)) + 2
    assert weights.tensor_update(base, base + factor * base, KS).relative_norm == pytest.approx(factor, rel=1e-5)


def test_a_zero_base_has_no_relative_norm():
    assert np.isnan(weights.tensor_update(np.zeros(3), np.ones(3), KS).relative_norm)


@pytest.mark.parametrize(("row", "column", "expected"), [
    (0, 0, (1, 1, 1)), (0, 6, (1, 0, 0)), (10, 0, (0, 1, 0)), (10, 6, (0, 0, 0)),
])  # fmt: skip
def test_a_rank_one_update_lies_inside_or_outside_the_leading_directions(row, column, expected):
    base, left, right = known()
    update = 1e-3 * np.outer(left[:, row], right[:, column])
    assert weights.update_rank(update) == pytest.approx(1, abs=1e-4)
    found = weights.overlap(update, base, KS)
    for share, value in zip(found, expected, strict=True):
        np.testing.assert_allclose(share, [value] * len(KS), atol=1e-9)


def test_a_share_enters_the_sweep_at_its_own_direction():
    base, left, right = known()
    update = np.outer(left[:, 3], 0.6 * right[:, 1] + 0.8 * right[:, 4])
    found = weights.overlap(update, base, (1, 2, 3, 4, 5))
    np.testing.assert_allclose(found.left, [0, 0, 0, 1, 1], atol=1e-9)
    np.testing.assert_allclose(found.right, [0, 0.36, 0.36, 0.36, 1], atol=1e-9)
    np.testing.assert_allclose(found.both, [0, 0, 0, 0.36, 1], atol=1e-9)


@pytest.mark.parametrize("shape", [(12, 8), (8, 12), (9, 9)])
def test_the_sweep_agrees_with_plain_projections(shape):
    update, base = normal(*shape), normal(*shape, seed=1)
    found = weights.overlap(update, base, KS)
    for i, k in enumerate(KS):
        np.testing.assert_allclose([share[i] for share in found], naive_overlap(update, base, k), atol=1e-10)


def test_a_stack_is_measured_as_its_matrices():
    update, base = normal(3, 7, 5), normal(3, 7, 5, seed=1)
    stacked = weights.overlap(update, base, KS)
    single = [weights.overlap(u, b, KS) for u, b in zip(update, base, strict=True)]
    for field in weights.Overlap._fields:
        np.testing.assert_allclose(getattr(stacked, field), [getattr(found, field) for found in single])
    np.testing.assert_allclose(weights.update_rank(update), [weights.update_rank(u) for u in update])


@pytest.mark.parametrize("rank", [1, 8])
@pytest.mark.parametrize("shape", [(24, 8), (8, 24)])
def test_random_updates_of_any_rank_overlap_at_chance(shape, rank):
    base, draws = normal(*shape, seed=99), 1000
    update = normal(draws, shape[0], rank, seed=1) @ normal(draws, rank, shape[1], seed=2)
    found = weights.overlap(update, np.broadcast_to(base, update.shape), KS)
    for share, chance in zip(found, weights.overlap_chance(shape, KS), strict=True):
        error = share.std(axis=0) / np.sqrt(draws)
        assert (np.abs(share.mean(axis=0) - chance) < 4 * error).all()


def test_the_rank_of_a_random_update_is_that_of_its_null():
    null = effective_rank(isotropic_spectrum(30, 12, False, 200, 0))
    assert weights.update_rank(normal(30, 12, seed=5)) == pytest.approx(null.mean(), abs=5 * null.std())


@given(seed=st.integers(0, 20), factor=st.floats(1e-3, 1e3))
def test_invariant_to_common_rotations_of_both_sides_and_to_factors(seed, factor):
    update, base = normal(9, 6), normal(9, 6, seed=1)
    left, right = orthogonal(9, seed), orthogonal(6, seed + 1)
    plain, moved = (
        weights.overlap(update, base, KS),
        weights.overlap(factor * left @ update @ right, left @ base @ right, KS),
    )
    for a, b in zip(plain, moved, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-9)
    assert weights.update_rank(factor * left @ update @ right) == pytest.approx(weights.update_rank(update))
    rotated = weights.tensor_update(left @ base @ right, left @ (base + update) @ right, KS).relative_norm
    assert rotated == pytest.approx(weights.tensor_update(base, base + update, KS).relative_norm)


@pytest.mark.parametrize("shape", [(), (4,), (1, 4), (4, 1)])
def test_vectors_and_scalars_have_a_norm_and_nothing_else(shape):
    found = weights.tensor_update(np.ones(shape), 1.5 * np.ones(shape), KS)
    assert found.relative_norm == pytest.approx(0.5)
    assert np.isnan([found.effective_rank, *found.overlap.left, *found.overlap.both, *found.chance.right]).all()


def test_directions_that_the_base_does_not_have_are_nan():
    base = np.outer(np.ones(6), np.ones(4)) + np.outer(np.arange(6.0), np.arange(4.0))  # rank 2
    found = weights.overlap(normal(6, 4), base, (1, 2, 3, 9))
    assert np.isnan(np.stack(found)).tolist() == [[False, False, True, True]] * 3
    assert np.isnan(weights.overlap_chance((6, 4), (4, 5)).left).tolist() == [False, True]


def test_a_tensor_that_did_not_move():
    base = normal(6, 4)
    found = weights.tensor_update(base, base, KS[:2])
    assert found.norm == found.relative_norm == 0
    assert np.isnan([found.effective_rank, *found.overlap.left]).all()


def test_displacement_is_that_of_all_tensors_together():
    base, sibling = [normal(6, 4), normal(5, seed=1)], [normal(6, 4, seed=2), normal(5, seed=3)]
    flat = [np.concatenate([tensor.ravel() for tensor in side]) for side in (base, sibling)]
    found = weights.displacement(weights.tensor_update(a, b, KS) for a, b in zip(base, sibling, strict=True))
    assert found == pytest.approx(np.linalg.norm(flat[1] - flat[0]) / np.linalg.norm(flat[0]))


def test_bad_input_is_refused():
    with pytest.raises(weights.WeightError, match=r"unlike shapes \(3, 2\) and \(2, 3\)"):
        weights.overlap(np.ones((3, 2)), np.ones((2, 3)), KS)
    with pytest.raises(weights.WeightError, match="not finite"):
        weights.tensor_update(np.ones((2, 2)), np.full((2, 2), np.nan), KS)
    with pytest.raises(weights.WeightError, match="1 or more, asked for .0, 2"):
        weights.overlap(np.ones((3, 2)), np.ones((3, 2)), (0, 2))
    with pytest.raises(weights.WeightError, match="has no spectrum"):
        weights.update_spectrum(np.ones(3))
