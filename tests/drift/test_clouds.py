"""Which tokens make a cloud, in which basis, and how prompts are halved."""

import numpy as np
import pytest

from stages.drift.clouds import content_mask, half_rows, in_basis, sinks_mask
from tests.support import drift_study as study


def test_position_0_is_no_content_and_stands_among_the_sinks():
    rows, values = study.rows(), study.values()
    kept = content_mask(rows, values)
    assert (rows.position[kept] > 0).all() and kept.sum() == study.PROMPTS * study.PER_PROMPT
    sinks = sinks_mask(rows)
    assert sinks.sum() == kept.sum() and (rows.position[sinks] == 0).sum() == study.PROMPTS
    np.testing.assert_array_equal(np.bincount(rows.prompt[sinks]), study.PER_PROMPT)


def test_a_token_massive_at_one_point_of_one_stack_is_left_out_everywhere():
    rows, values = study.rows(), study.values()
    other = values.copy()
    other[4, 7] *= 100
    assert content_mask(rows, values)[7] and not content_mask(rows, values, other)[7]
    assert content_mask(rows, values, other).sum() == content_mask(rows, values).sum() - 1


def test_massive_sinks_leave_the_content_alone():
    rows = study.rows()
    np.testing.assert_array_equal(content_mask(rows, study.values(sink=1000.0)), content_mask(rows, study.values()))


def test_the_directions_have_length_1():
    for basis in ("unit", "shared_pca_unit"):
        (found,) = in_basis([study.values()], basis, 3)
        np.testing.assert_allclose(np.linalg.norm(found, axis=-1), 1)


def test_a_shared_basis_keeps_steps_that_lie_in_it_and_all_distances_at_full_width():
    stacks = [study.values(), study.values(moved=study.MOVED)]
    full = in_basis(stacks, "shared_pca", 1000)
    assert full[0].shape == stacks[0].shape  # no more than the width
    for before, after in zip(stacks, full, strict=True):
        np.testing.assert_allclose(
            np.diff(after, axis=0) ** 2 @ np.ones(study.D), np.diff(before, axis=0) ** 2 @ np.ones(study.D)
        )
    apart = np.linalg.norm(full[1] - full[0], axis=-1)
    np.testing.assert_allclose(apart, study.MOVED)
    narrow = in_basis(stacks, "shared_pca", 2)
    assert narrow[0].shape[-1] == 2 and (np.linalg.norm(narrow[1] - narrow[0], axis=-1) <= study.MOVED + 1e-12).all()


@pytest.mark.parametrize("blocks", [8, 16])
def test_prompts_are_halved_whole_and_every_block_as_often(blocks):
    prompt = np.repeat(np.arange(study.PROMPTS), 2)
    found = half_rows(prompt, np.ones(len(prompt), bool), blocks, 0, "one")
    assert len(found) == blocks - 1
    times = np.zeros(len(prompt))
    for one, other in found:
        assert len(one) == len(other) and not set(prompt[one]) & set(prompt[other])
        times[one] += 1
        np.testing.assert_array_equal(np.sort(np.concatenate([one, other])), np.arange(len(prompt)))
    assert set(times) == {blocks // 2 - 1, blocks - 1} or set(times) == {blocks // 2 - 1, blocks // 2, blocks - 1}


def test_tasks_and_seeds_have_halves_of_their_own():
    prompt = np.arange(32)
    one, other, again = (
        half_rows(prompt, np.ones(32, bool), 8, seed, task) for seed, task in ((0, "one"), (0, "two"), (0, "one"))
    )
    assert any(not np.array_equal(a[0], b[0]) for a, b in zip(one, other, strict=True))
    assert all(np.array_equal(a[0], b[0]) for a, b in zip(one, again, strict=True))


def test_a_token_that_is_left_out_moves_no_other_to_another_half():
    prompt = np.repeat(np.arange(32), 2)
    kept = np.arange(64) < 60  # the last two prompts are gone
    for whole, part in zip(
        half_rows(prompt, kept | True, 8, 0, "one"), half_rows(prompt, kept, 8, 0, "one"), strict=True
    ):
        np.testing.assert_array_equal(whole[0][whole[0] < 60], part[0])
