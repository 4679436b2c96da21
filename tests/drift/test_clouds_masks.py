"""Masks, shared bases and halves where prompts are unlike: short ones, lost tokens, few rows."""

import numpy as np
import pytest

from stages.drift.clouds import content_mask, half_rows, in_basis, sinks_mask
from stages.drift.sample_files import SampledTokens
from tests.support import drift_study as study


def uneven(counts):
    """Position 0 and so many drawn tokens of each prompt."""
    prompt = np.repeat(np.arange(len(counts)), np.array(counts) + 1)
    return SampledTokens(prompt, np.concatenate([np.arange(count + 1) for count in counts]), "tokens")


@pytest.mark.parametrize("counts", [[2, 2, 2], [1, 3, 2, 5], [2, 0, 1], [0, 0, 2]])
def test_with_sinks_has_as_many_rows_of_each_prompt_as_content(counts):
    rows = uneven(counts)
    mask = sinks_mask(rows)
    np.testing.assert_array_equal(np.bincount(rows.prompt[mask], minlength=len(counts)), counts)
    for prompt, count in enumerate(counts):
        kept = rows.position[mask & (rows.prompt == prompt)]
        np.testing.assert_array_equal(kept, np.arange(count))  # position 0 and all but the last one


def lengths(values):
    """(1, rows, 2) rows of so long a norm."""
    return np.array(values, float)[None, :, None] * np.array([0.6, 0.8])


def test_a_token_is_massive_against_drawn_tokens_whatever_the_sinks_are():
    """The median of the drawn tokens is 1; with the sinks it were 2, and 15 not ten times it."""
    rows = uneven([2] * 10)
    norms = np.where(rows.position == 0, 100.0, np.where(np.arange(30) % 5 < 3, 1.0, 2.0))
    norms[4] = 15.0
    drawn = norms[rows.position > 0]
    assert np.median(drawn) == 1 and np.median(norms) == 2
    kept = content_mask(rows, lengths(norms))
    assert not kept[4] and kept.sum() == 19


@pytest.mark.parametrize(("factor", "left_out"), [(9.9, False), (10.1, True)])
def test_ten_medians_are_the_bound(factor, left_out):
    rows, norms = uneven([2] * 10), np.ones(30)
    norms[7] = factor
    assert content_mask(rows, lengths(norms))[7] != left_out


def test_each_stack_has_its_own_median():
    """A model four times as long has no massive tokens for that."""
    rows, values = study.rows(), study.values()
    np.testing.assert_array_equal(content_mask(rows, values, 40 * values), rows.position > 0)


def test_the_shared_basis_is_that_of_all_rows_together():
    """Distances are those of the projections on the leading directions of the pooled rows, by the plain SVD."""
    generator = np.random.default_rng(0)
    stacks = [generator.standard_normal((3, 20, 6)) * np.arange(1, 7) + shift for shift in (0.0, 2.0)]
    pooled = np.concatenate([cloud for stack in stacks for cloud in stack])
    axes = np.linalg.svd(pooled - pooled.mean(axis=0), full_matrices=False)[2][:2]  # (2, 6)
    for found, stack in zip(in_basis(stacks, "shared_pca", 2), stacks, strict=True):
        expected = (stack - pooled.mean(axis=0)) @ axes.T
        signs = np.sign((found * expected).sum(axis=(0, 1)))
        np.testing.assert_allclose(found, signs * expected, atol=1e-8)


def test_the_unit_basis_forgets_lengths_and_the_shared_unit_one_lengths_about_the_mean():
    stacks = [study.values()[:3]]
    lengths = np.random.default_rng(0).uniform(0.5, 2, stacks[0].shape[:2])[..., None]
    (plain,), (scaled,) = (in_basis(found, "unit", 3) for found in (stacks, [stacks[0] * lengths]))
    np.testing.assert_allclose(plain, scaled, atol=1e-12)
    (pca,), (pca_unit,) = (in_basis(stacks, name, 3) for name in ("shared_pca", "shared_pca_unit"))
    np.testing.assert_allclose(pca_unit, pca / np.linalg.norm(pca, axis=-1, keepdims=True))


@pytest.mark.parametrize(("rows", "expected"), [(3, 2), (5, 4), (50, 8)])
def test_few_rows_allow_few_components(rows, expected):
    stack = np.random.default_rng(0).standard_normal((1, rows, 8))
    (found,) = in_basis([stack], "shared_pca", 32)
    assert found.shape == (1, rows, expected)
    np.testing.assert_allclose(
        np.linalg.norm(found[0, 0] - found[0, 1]), np.linalg.norm(stack[0, 0] - stack[0, 1])
    )  # as many as there are keep all distances


def test_values_of_float32_are_worked_on_in_float64():
    for basis in ("raw", "unit", "shared_pca", "shared_pca_unit"):
        (found,) = in_basis([study.values().astype(np.float32)], basis, 3)
        assert found.dtype == np.float64


PROMPT = np.repeat(np.arange(32), 2)


def signs(kept, seed=0, blocks=8):
    """(blocks - 1, kept rows) 1 in a half, -1 in its complement."""
    found = np.zeros((blocks - 1, int(kept.sum())))
    for line, (one, other) in zip(found, half_rows(PROMPT, kept, blocks, seed, "one"), strict=True):
        line[one], line[other] = 1, -1
    return found


def test_any_two_halves_share_half_of_their_rows():
    found = signs(np.ones(64, bool))
    np.testing.assert_array_equal(found @ found.T, 64 * np.eye(7))
    np.testing.assert_array_equal(found.sum(axis=1), 0)


def test_lost_tokens_leave_every_row_in_one_of_two_halves_and_prompts_whole():
    kept = np.ones(64, bool)
    kept[[0, 1, 9, 30, 63]] = False
    found = signs(kept)
    assert (found != 0).all()
    np.testing.assert_array_equal(found, signs(np.ones(64, bool))[:, kept])
    for prompt in np.unique(PROMPT[kept]):
        of_prompt = found[:, PROMPT[kept] == prompt]
        np.testing.assert_array_equal(of_prompt, np.repeat(of_prompt[:, :1], of_prompt.shape[1], axis=1))


def test_another_seed_puts_prompts_elsewhere():
    everything = np.ones(64, bool)
    assert not np.array_equal(signs(everything), signs(everything, seed=1))
