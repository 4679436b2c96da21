"""Projection ratios of planted hierarchies and of words without one."""

import numpy as np
import pytest
from sklearn.covariance import ledoit_wolf

from stages.geometry.causal import CausalError, category_vector, causal_metric
from stages.geometry.hierarchies import Tree, mean_ratios, shuffled_ratios, siblings, split_ratios, tree

D, CHILDREN = 32, 24
KINDS = {"animal": None, "thing": None} | {f"a{i}": "animal" for i in range(3)} | {f"t{i}": "thing" for i in range(3)}
WORDS = {f"{kind}-{i}": kind for kind in list(KINDS)[2:] for i in range(CHILDREN)}
TREE = tree(KINDS, WORDS)


def planted(strength: float = 6.0, seed: int = 0) -> np.ndarray:
    """g (W, D): a direction for each kind, all orthogonal, and noise of each word's own."""
    generator = np.random.default_rng(seed)
    directions = np.linalg.qr(generator.standard_normal((D, D)))[0][: len(KINDS)]
    return strength * TREE.members @ directions + generator.standard_normal((len(WORDS), D))


def noise(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((len(WORDS), D))


def test_the_tree_knows_what_is_above_what():
    names = list(KINDS)
    a0, animal, thing = (names.index(name) for name in ("a0", "animal", "thing"))
    assert TREE.ancestry[a0, animal] and not TREE.ancestry[animal, a0] and not TREE.ancestry[a0, thing]
    assert TREE.members[:, animal].sum() == 3 * CHILDREN
    beside = siblings(TREE)
    assert {names[i] for i in np.flatnonzero(beside[a0])} == {"a1", "a2"}
    assert {names[i] for i in np.flatnonzero(beside[animal])} == {"thing"}


def test_a_planted_hierarchy_is_found_on_held_out_words():
    found = mean_ratios(planted(), TREE, 8, 0)
    assert (found.members > 0.8).all() and (np.abs(found.nonmembers) < 0.2).all()
    above = TREE.ancestry & ~np.eye(len(KINDS), dtype=bool)
    apart = TREE.ancestry.astype(int) @ TREE.ancestry.T == 0  # kinds with nothing in common
    assert (found.kinds[above] > 0.8).all() and (np.abs(found.kinds[apart]) < 0.2).all()
    # a kind's vector is what its words agree in: its own direction and that of the kind above, which siblings share
    np.testing.assert_allclose(found.siblings[2:], 0.5, atol=0.1)


def test_labels_without_meaning_have_no_excess_whatever_the_words():
    found = shuffled_ratios(planted(), TREE, 60, 0)
    assert np.abs(np.mean([one.excess for one in found], axis=0)).max() < 0.1


def test_noise_has_no_excess_on_average():
    excess = np.mean([mean_ratios(noise(seed), TREE, 2, seed).excess for seed in range(12)], axis=0)
    assert np.abs(excess).max() < 0.35 and abs(excess.mean()) < 0.12


def test_angles_of_shuffled_labels_are_near_ninety_degrees_too():
    words = planted(2.0)
    true = mean_ratios(words, TREE, 4, 0)
    shuffled = shuffled_ratios(words, TREE, 20, 0)
    angles = [np.nanmean(one.word_angles) for one in shuffled]
    assert abs(np.nanmean(true.word_angles) - 90) < 20 and abs(np.mean(angles) - 90) < 20
    assert true.excess.min() > 3 * np.abs(np.mean([one.excess for one in shuffled], axis=0)).max()


def test_of_unit_vectors_the_angle_is_never_below_ninety():
    words = noise()
    unit = words / np.linalg.norm(words, axis=1, keepdims=True)
    departure = unit[1:] - unit[:-1]
    cosine = (unit[:-1] * departure).sum(axis=1) / np.linalg.norm(departure, axis=1)
    assert (cosine <= 1e-12).all()


def test_in_sample_the_ratio_is_one_even_of_noise():
    words = noise()[:CHILDREN]
    concept = category_vector(words)
    assert (words @ concept / (concept @ concept)).mean() == pytest.approx(1)


def test_rotation_and_a_common_factor_change_nothing():
    words = planted()
    rotation = np.linalg.qr(noise(3)[:D])[0]
    ours, theirs = (split_ratios(g, TREE, np.random.default_rng(0)) for g in (words, 3.0 * words @ rotation))
    for one, same in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one, same, rtol=1e-6, atol=1e-6)


def test_a_gaussian_unembedding_and_a_small_vocabulary_hide_everything():
    generator = np.random.default_rng(0)
    unembedding = generator.standard_normal((600, D))
    gaussian = causal_metric(unembedding).words(unembedding)[: len(WORDS)]
    assert mean_ratios(gaussian, TREE, 4, 0).excess.max() < 0.5
    # V near d: the whitened Gram matrix is a projection whatever the words mean
    unembedding = np.concatenate([planted(), generator.standard_normal((4, D))])
    few = unembedding[:: len(unembedding) // (D + 6)]
    whitened = causal_metric(few, 0.0).words(few)
    gram = whitened @ whitened.T / len(few)
    np.testing.assert_allclose(gram @ gram, gram, atol=1e-8)


@pytest.mark.parametrize("count", [12, 60])
def test_the_category_vector_is_that_of_the_whole_covariance(count):
    members = planted()[:count]
    mean = members.mean(axis=0)
    direction = np.linalg.pinv(ledoit_wolf(members - mean, assume_centered=True)[0]) @ mean
    direction /= np.linalg.norm(direction)
    np.testing.assert_allclose(category_vector(members), (mean @ direction) * direction, rtol=1e-8)


def test_kinds_with_few_words_and_missing_labels_are_named():
    few = Tree(np.repeat([2, 3], [5, 20]), TREE.ancestry)
    with pytest.raises(CausalError, match="kind 2 has 5 words: expected 6"):
        split_ratios(noise()[:25], few, np.random.default_rng(0))
    with pytest.raises(CausalError, match="144 labels for 10 words"):
        split_ratios(noise()[:10], TREE, np.random.default_rng(0))
