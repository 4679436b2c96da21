"""The causal inner product against its definition, and concepts that are planted or are not there."""

import numpy as np
import pytest

from stages.geometry import causal
from stages.geometry.causal import CausalError
from stages.geometry.hierarchies import Tree, mean_ratios

PARENTS, CHILDREN, D, V = 6, 24, 32, 400


def flat(parent):
    """Kinds beside one another."""
    return Tree(parent, np.eye(int(parent.max()) + 1, dtype=bool))


def gaussian(n, d, seed=0):
    return np.random.default_rng(seed).standard_normal((n, d))


def world(seed=0, strength=8.0):
    """Unembedding (V, d) whose first words are children: their parent's vector plus their own; and their parents.

    Everything else is noise; a mixing matrix hides the geometry from the Euclidean eye.
    """
    generator = np.random.default_rng(seed)
    parent = np.repeat(np.arange(PARENTS), CHILDREN)
    words = generator.standard_normal((V, D))
    words[: len(parent)] += strength * np.linalg.qr(generator.standard_normal((D, D)))[0][parent]
    return words @ generator.standard_normal((D, D)) * 0.3 + 1.0, parent


def test_words_are_whitened_and_logits_are_kept():
    unembedding, contexts = world()[0], gaussian(50, D, 1)
    metric = causal.causal_metric(unembedding, 0.0)
    g, lam = metric.words(unembedding), metric.contexts(contexts)
    np.testing.assert_allclose(g.T @ g / V, np.eye(D), atol=1e-9)
    np.testing.assert_allclose(g.mean(axis=0), 0, atol=1e-10)
    np.testing.assert_allclose(lam @ g.T, contexts @ (unembedding - unembedding.mean(axis=0)).T, rtol=1e-8, atol=1e-8)


def test_the_inner_product_does_not_know_the_basis_in_which_the_model_is_written():
    unembedding, contexts = world()[0], gaussian(20, D, 1)
    mixing = gaussian(D, D, 2)
    other = unembedding @ np.linalg.inv(mixing)  # γ -> A^-T γ, by rows
    ours, theirs = (causal.causal_metric(words, 0.0) for words in (unembedding, other))
    pairs = [(metric.words(words), metric.contexts(lam)) for metric, words, lam in
             ((ours, unembedding, contexts), (theirs, other, contexts @ mixing.T))]  # fmt: skip
    for one, same in zip(*pairs, strict=True):
        np.testing.assert_allclose(one @ one.T, same @ same.T, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(contexts @ unembedding.T, (contexts @ mixing.T) @ other.T, rtol=1e-7, atol=1e-7)


def test_contexts_whitened_as_words_are_no_contexts():
    """The wrong root changes the logits: what the dual is for."""
    unembedding, contexts = world()[0], gaussian(20, D, 1)
    metric = causal.causal_metric(unembedding, 0.0)
    wrong = (contexts @ metric.inverse_root) @ metric.words(unembedding).T
    right = metric.contexts(contexts) @ metric.words(unembedding).T
    assert np.corrcoef(wrong.ravel(), right.ravel())[0, 1] < 0.9


def test_a_concept_added_to_a_context_moves_it_by_the_concept():
    unembedding, contexts = world()[0], gaussian(20, D, 1)
    metric = causal.causal_metric(unembedding)
    concept = gaussian(1, D, 3)
    moved = metric.contexts(contexts + metric.as_context(concept)) - metric.contexts(contexts)
    np.testing.assert_allclose(moved, np.repeat(concept, 20, axis=0), atol=1e-8)


@pytest.mark.parametrize("ridge", [0.0, 0.05, 1.0])
def test_a_ridge_is_a_share_of_the_mean_variance(ridge):
    unembedding = world()[0]
    covariance = np.cov(unembedding.T, bias=True)
    expected = covariance + ridge * np.trace(covariance) / D * np.eye(D)
    metric = causal.causal_metric(unembedding, ridge)
    np.testing.assert_allclose(metric.root @ metric.root, expected, atol=1e-9)
    np.testing.assert_allclose(metric.root @ metric.inverse_root, np.eye(D), atol=1e-9)


def test_the_euclidean_control_changes_no_angle():
    unembedding = world()[0]
    metric = causal.euclidean_metric(unembedding)
    centred = unembedding - unembedding.mean(axis=0)
    found = metric.words(unembedding)
    np.testing.assert_allclose(found * np.linalg.norm(centred) / np.linalg.norm(found), centred, atol=1e-9)
    assert found.var(axis=0).sum() == pytest.approx(D)


def test_members_have_ratio_1_in_sample_whatever_they_are():
    members = gaussian(30, 8) + 0.1
    concept = causal.category_vector(members)
    assert (members @ concept / (concept @ concept)).mean() == pytest.approx(1)


def test_a_category_is_the_direction_in_which_its_members_agree():
    """Members scatter along axis 1 and agree on axis 0: their mean is off it, the category is on it."""
    generator = np.random.default_rng(0)
    members = np.column_stack([2 + 0.05 * generator.standard_normal(400), 1 + 5 * generator.standard_normal(400)])
    concept = causal.category_vector(members)
    assert abs(concept[0]) > 50 * abs(concept[1]) and concept[0] == pytest.approx(2, rel=0.02)


def test_planted_categories_are_found_on_held_out_words():
    unembedding, parent = world()
    words = causal.causal_metric(unembedding).words(unembedding)[: len(parent)]
    found = mean_ratios(words, flat(parent), 10, 0)
    assert (found.members > 0.8).all() and (found.members < 1.05).all() and (np.abs(found.nonmembers) < 0.15).all()


@pytest.mark.parametrize("null", ["shuffled labels", "gaussian unembedding"])
def test_what_is_not_there_is_not_found(null):
    unembedding, parent = world()
    if null == "shuffled labels":
        parent = np.random.default_rng(1).permutation(parent)
    else:
        unembedding = gaussian(V, D, 5)
    words = causal.causal_metric(unembedding).words(unembedding)[: len(parent)]
    found = mean_ratios(words, flat(parent), 10, 0)
    assert np.abs(found.excess).max() < 0.35 and abs(found.excess.mean()) < 0.1


def planted_excess(words, shrinkage):
    """Mean over 4 categories of 12 members each, among ``words`` words in 64 dimensions."""
    generator = np.random.default_rng(0)
    parent = np.repeat(np.arange(4), 12)
    unembedding = generator.standard_normal((words, 64))
    unembedding[: len(parent)] += 8 * np.linalg.qr(generator.standard_normal((64, 64)))[0][parent]
    g = causal.causal_metric(unembedding, shrinkage).words(unembedding)[: len(parent)]
    return mean_ratios(g, flat(parent), 10, 0).excess.mean()


def test_near_as_many_dimensions_as_words_hide_a_planted_category():
    """Without shrinkage the whitened Gram matrix is nearly the identity, whatever the words mean."""
    assert planted_excess(70, 0.0) < 0.1
    assert planted_excess(70, "ledoit_wolf") > 0.3
    assert planted_excess(400, 0.0) > 0.6


def test_a_discriminant_is_fishers():
    generator = np.random.default_rng(0)
    scatter = np.array([[4.0, 1.5], [1.5, 1.0]])
    sides = [generator.multivariate_normal(mean, scatter, 20_000) for mean in ([1, 0], [0, 0])]
    expected = np.linalg.solve(scatter, [1, 0])
    np.testing.assert_allclose(causal.discriminant(*sides), expected / np.linalg.norm(expected), atol=0.02)
    np.testing.assert_allclose(causal.discriminant(*sides), -causal.discriminant(*sides[::-1]))


def test_a_projector_keeps_the_energy_of_squares():
    deltas = np.diag([3.0, 2.0, 1.0, 0.0])
    assert causal.energy_projector(deltas, 9 / 14).shape == (4, 1)
    assert causal.energy_projector(deltas, 0.65).shape == (4, 2)
    basis = causal.energy_projector(deltas, 1.0)
    np.testing.assert_allclose(np.abs(basis), np.eye(4)[:, :3], atol=1e-12)
    assert basis.shape[1] == 3


def test_corners_as_far_from_their_centre_have_the_cosine_of_a_simplex_without_being_one():
    square = causal.simplex(np.array([[1.0, 0], [0, 1], [-1, 0], [0, -1]]))
    assert square.cosine == pytest.approx(-1 / 3) and square.cosine_sd > 0.3 and square.edge_variation > 0.1
    uneven = causal.simplex(np.array([[3.0, 0], [0, 1], [-1, 0], [0, -1]]))
    assert uneven.cosine != pytest.approx(-1 / 3, abs=1e-3)


def test_a_regular_simplex_and_a_line():
    regular = causal.simplex(5 * np.linalg.qr(gaussian(9, 9))[0][:4] + 3)
    assert regular == pytest.approx((0, -1 / 3, 0, 1), abs=1e-7)
    line = causal.simplex(np.outer([0.0, 1.0, 5.0], [1.0, 2.0]))
    assert line.rank_share == pytest.approx(0.5) and line.edge_variation > 0.3


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: causal.causal_metric(gaussian(20, 32), 0.0), "20 words in 32 dimensions is singular: .*shrinkage"),
        (lambda: causal.causal_metric(gaussian(40, 4), -0.1), "shrinkage -0.1"),
        (lambda: causal.causal_metric(np.full((40, 4), np.nan)), "40 of 40 words hold NaN"),
        (lambda: causal.causal_metric(gaussian(40, 4)).words(gaussian(3, 5)), "rows of width 5: expected 4"),
        (lambda: causal.category_vector(gaussian(2, 4)), "a category of 2 members: expected 3"),
        (lambda: causal.discriminant(gaussian(1, 4), gaussian(9, 4)), "1 and 9 contexts"),
        (lambda: causal.energy_projector(gaussian(5, 4), 1.5), "energy 1.5"),
        (lambda: causal.simplex(gaussian(2, 4)), "2 siblings"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(CausalError, match=message):
        call()
