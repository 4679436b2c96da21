"""Sign flips against enumeration by hand, a null that must not be rejected, a planted effect that must."""

import numpy as np
import pytest

from tests.support.permutation import EXACT, sign_flip


def test_exact_by_hand():
    assert sign_flip(np.array([1.0, 2.0, 3.0]), np.zeros(3)) == 2 / 8  # all up, or all down
    assert sign_flip(np.array([1.0, 2.0, -3.0]), np.zeros(3)) == 1  # the sum is 0: every pattern is as far
    assert sign_flip(np.array([3.0, 2.0, -1.0]), np.zeros(3)) == 4 / 8  # |sums| 6, 4, 2, 0, each twice
    assert sign_flip(np.ones(4), np.ones(4)) == 1


def test_random_patterns_agree_with_enumeration():
    generator = np.random.default_rng(0)
    difference = generator.normal(0.3, 1, EXACT)
    padded = np.append(difference, 0.0)  # a prompt without a difference changes nothing but the way
    assert sign_flip(padded, np.zeros(EXACT + 1)) == pytest.approx(sign_flip(difference, np.zeros(EXACT)), abs=0.02)


def test_the_smallest_p_is_that_of_the_draws():
    assert sign_flip(np.ones(100), np.zeros(100), draws=99) == 1 / 100


def test_seeded_and_symmetric():
    more, less = np.random.default_rng(0).random((2, 50)) + [[0.05], [0.0]]
    assert sign_flip(more, less) == sign_flip(more, less) == sign_flip(less, more)


def test_it_holds_its_level_on_right_and_wrong_answers_and_finds_a_gain():
    generator = np.random.default_rng(0)
    chance = generator.beta(0.5, 0.5, 200)  # prompts differ in how hard they are
    null = [sign_flip(*(generator.random((2, 200)) < chance), draws=499, seed=run) for run in range(300)]
    assert 0.005 <= np.mean(np.array(null) <= 0.05) <= 0.085  # whole answers: .03 is the nearest level below .05
    better = [sign_flip(generator.random(200) < chance + 0.2, generator.random(200) < chance, 499) for _ in range(20)]
    assert np.mean(np.array(better) <= 0.05) > 0.9


@pytest.mark.parametrize(
    ("more", "less"), [(np.ones((9, 2)), np.ones((9, 2))), (np.ones(9), np.ones(8)), (np.ones(0), np.ones(0))]
)
def test_it_takes_one_score_a_prompt(more, less):
    with pytest.raises(ValueError, match="expected one score a prompt"):
        sign_flip(more, less)


def test_scores_must_be_finite():
    with pytest.raises(ValueError, match="not finite"):
        sign_flip(np.array([1.0, np.nan]), np.zeros(2))
