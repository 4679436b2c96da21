"""Every measure of a dictionary has a case where it is perfect and one that it rejects."""

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from stages.concepts.autoencoders import measures
from stages.concepts.autoencoders.codes import dense, directions, readers
from stages.concepts.autoencoders.flat import Flat
from stages.concepts.autoencoders.hierarchical import Hierarchical, Shape

KINDS, ROWS = 4, 200
LABEL = np.arange(ROWS) % KINDS
PERFECT = np.eye(KINDS + 2)[LABEL]
LATENT = np.arange(KINDS)


def random_codes(seed=0, latents=KINDS + 2):
    """One latent a row, drawn at random: codes of one parent a token."""
    generator = np.random.default_rng(seed)
    return np.eye(latents)[generator.integers(latents, size=ROWS)] * generator.uniform(0.5, 2, (ROWS, 1))


def test_explained_variance_is_one_for_all_and_none_for_the_mean():
    x = np.random.default_rng(0).standard_normal((50, 3))
    metric = np.diag([1.0, 10.0, 0.1])
    for inner in (None, metric):
        assert measures.explained(x, x, inner) == 1
        assert measures.explained(x, np.broadcast_to(x.mean(axis=0), x.shape), inner) == pytest.approx(0)
    half = x * [1, 0, 1]
    lost, spread = ((y - z) ** 2 @ np.diag(metric) for y, z in ((x, half), (x, x.mean(axis=0))))
    assert measures.explained(x, half, metric) == pytest.approx(1 - lost.sum() / spread.sum())
    assert measures.explained(x, half, metric) < measures.explained(x, half)


def test_usage_counts_codes_dead_and_dense_latents():
    codes = np.zeros((20, 4))
    codes[:, 0], codes[0, 1], codes[:4, 2] = 1, 1, 1
    assert measures.usage(codes) == measures.Usage(1.25, 0.25, 0.5)


def test_decoder_cosine_sees_a_direction_that_stands_twice():
    assert measures.decoder_cosine(np.eye(5)) == 0
    assert measures.decoder_cosine(np.array([[1.0, 0], [2, 0]])) == pytest.approx(1)


def test_auroc_is_sklearns_with_ties():
    generator = np.random.default_rng(0)
    scores, positive = generator.integers(0, 4, (60, 3)).astype(float), generator.random(60) < 0.3
    slow = [roc_auc_score(positive, column) for column in scores.T]
    np.testing.assert_allclose(measures.auroc(scores, positive), slow)
    with pytest.raises(ValueError, match="0 of 60 rows are positive"):
        measures.auroc(scores, np.zeros(60, bool))


def test_each_kind_is_assigned_the_latent_that_tells_it():
    shuffled = np.array([3, 0, 5, 2])
    codes = random_codes(1) * 0.01
    codes[np.arange(ROWS), shuffled[LABEL]] += 1
    assert measures.assign(codes, LABEL, KINDS).tolist() == shuffled.tolist()


def test_purity_is_one_where_it_should_be_and_chance_elsewhere():
    assert measures.purity(PERFECT, LABEL, LATENT).tolist() == [1] * KINDS
    np.testing.assert_allclose(measures.purity(random_codes(), LABEL, LATENT), 1 / KINDS, atol=0.15)
    assert measures.purity(np.zeros_like(PERFECT), LABEL, LATENT).tolist() == [1 / KINDS] * KINDS


def test_leakage_varies_with_one_code_a_row():
    astray = PERFECT[:, [1, 2, 3, 0, 4, 5]]
    assert measures.leakage(PERFECT, LABEL, LATENT).tolist() == [0] * KINDS
    assert measures.leakage(astray, LABEL, LATENT).tolist() == [1] * KINDS
    np.testing.assert_allclose(measures.leakage(random_codes(), LABEL, LATENT), 3 / 6, atol=0.15)
    elsewhere = np.eye(KINDS + 2)[np.full(ROWS, 5)]
    assert measures.leakage(elsewhere, LABEL, LATENT).tolist() == [0] * KINDS


def test_splitting_is_the_number_of_latents_that_share_a_kind():
    np.testing.assert_allclose(measures.splitting(PERFECT, LABEL, KINDS), 1)
    two = np.eye(2 * KINDS)[2 * LABEL + (np.arange(ROWS) // KINDS) % 2]
    np.testing.assert_allclose(measures.splitting(two, LABEL, KINDS), 2)
    assert np.isnan(measures.splitting(np.zeros_like(PERFECT), LABEL, KINDS)).all()


def test_absorption_is_found_where_another_latent_took_the_kind():
    said = np.eye(KINDS, dtype=bool)[LABEL]
    along = np.zeros((KINDS + 2, KINDS))
    along[4, 0] = 0.9
    codes = PERFECT.copy()
    taken = np.flatnonzero(LABEL == 0)[:10]
    codes[taken] = np.eye(KINDS + 2)[4]
    found = measures.absorption(codes, said, LABEL, LATENT, along)
    np.testing.assert_allclose(found, [10 / 50, 0, 0, 0])
    codes[taken] = np.eye(KINDS + 2)[5]  # silent too, but what fires does not write along the kind
    np.testing.assert_allclose(measures.absorption(codes, said, LABEL, LATENT, along), 0)
    assert np.isnan(measures.absorption(codes, np.zeros_like(said), LABEL, LATENT, along)).all()


def test_children_under_their_kind_are_consistent_and_random_ones_are_not():
    width, words = 3, 60
    kind, word = np.arange(words) % KINDS, np.repeat(np.arange(words), 2)
    generator = np.random.default_rng(0)
    right = np.eye((KINDS + 2) * width)[kind[word] * width + generator.integers(width, size=len(word))]
    assert measures.consistency(right, word, kind, LATENT, width) == 1
    wrong = np.eye((KINDS + 2) * width)[generator.integers((KINDS + 2) * width, size=len(word))]
    assert measures.consistency(wrong, word, kind, LATENT, width) < 0.5
    assert measures.consistency(0 * right, word, kind, LATENT, width) == 0


def test_the_normal_fan_of_class_means_is_fishers_and_that_of_random_rows_is_not():
    generator = np.random.default_rng(0)
    means = 4 * np.linalg.qr(generator.standard_normal((24, 24)))[0][:KINDS]
    states = means[LABEL] + 0.5 * generator.standard_normal((ROWS, 24))
    assert measures.normal_fan(means, LATENT, states, LABEL) < 25
    assert measures.normal_fan(generator.standard_normal((KINDS, 24)), LATENT, states, LABEL) > 60
    assert np.isnan(measures.normal_fan(means, np.zeros(KINDS, int), states, LABEL))


def test_a_probe_says_yes_to_its_own_kind():
    generator = np.random.default_rng(0)
    states = 5 * np.eye(12)[LABEL] + generator.standard_normal((ROWS, 12))
    said = measures.probe(states, LABEL, KINDS).scores(states) > 0
    assert (said == np.eye(KINDS, dtype=bool)[LABEL]).mean() > 0.97


def test_matched_directions_are_found_in_any_order():
    rows = np.random.default_rng(0).standard_normal((9, 12))
    np.testing.assert_allclose(measures.matched_cosine(rows, 3 * rows[::-1]), 1)
    assert measures.matched_cosine(rows, np.random.default_rng(1).standard_normal((9, 12))).mean() < 0.7


@pytest.mark.parametrize("k", [1, 2])
def test_dense_codes_put_together_are_the_reconstruction(k):
    model, x = Hierarchical(Shape(12, 5, 3, 4, k), 0), torch.randn(30, 12, generator=torch.Generator().manual_seed(0))
    found, (parents, children) = dense(model, x), directions(model)
    torch.testing.assert_close(found.parents @ parents + found.children @ children + model.bias, found.whole)
    assert ((found.parents > 0).sum(dim=1) <= k).all() and readers(model).shape == parents.shape
    flat = Flat(12, 20, 2, 0)
    found, (latents, none) = dense(flat, x), directions(flat)
    torch.testing.assert_close(found.parents @ latents + flat.bias, found.whole)
    assert none.shape == (0, 12) and found.children.shape == (30, 0) and readers(flat).shape == latents.shape
