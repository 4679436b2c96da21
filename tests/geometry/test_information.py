"""Fisher information and the metrics of contexts, against matrices of vocabulary by vocabulary."""

import numpy as np
import pytest

from stages.geometry.causal import CausalError, causal_metric
from stages.geometry.information import context_metric, fisher_information

V, D, N = 12, 4, 30


def arrays(seed=0):
    generator = np.random.default_rng(seed)
    return generator.standard_normal((V, D)), generator.standard_normal((N, D))


def softmax(logits):
    p = np.exp(logits - logits.max())
    return p / p.sum()


def test_fisher_is_the_mean_of_the_full_matrices():
    gamma, states = arrays()
    slow = np.mean([gamma.T @ (np.diag(p := softmax(gamma @ x)) - np.outer(p, p)) @ gamma for x in states], axis=0)
    for rows in (1, 7, N):
        np.testing.assert_allclose(fisher_information(gamma, states, rows), slow, rtol=1e-10, atol=1e-12)


def test_fisher_is_the_curvature_of_the_divergence():
    gamma, states = arrays()
    step = 1e-3 * np.array([1.0, -2.0, 0.5, 1.0])
    divergence = np.mean([np.sum((p := softmax(gamma @ x)) * np.log(p / softmax(gamma @ (x + step)))) for x in states])
    assert step @ fisher_information(gamma, states) @ step / 2 == pytest.approx(divergence, rel=1e-2)


def test_fisher_does_not_know_a_constant_added_to_all_words():
    gamma, states = arrays()
    np.testing.assert_allclose(fisher_information(gamma + 3.0, states), fisher_information(gamma, states), atol=1e-10)


def test_a_metric_of_contexts_keeps_logits():
    gamma, states = arrays()
    metric = context_metric(gamma, fisher_information(gamma, states))
    np.testing.assert_allclose(
        metric.contexts(states) @ metric.words(gamma).T, states @ (gamma - gamma.mean(axis=0)).T, atol=1e-9
    )


def test_the_covariance_of_words_as_a_form_is_the_causal_metric():
    gamma, states = arrays()
    centred = gamma - gamma.mean(axis=0)
    ours, theirs = context_metric(gamma, centred.T @ centred / V), causal_metric(gamma, 0.0)
    np.testing.assert_allclose(ours.words(gamma), theirs.words(gamma), atol=1e-10)
    np.testing.assert_allclose(ours.contexts(states), theirs.contexts(states), atol=1e-10)


def test_the_inverse_covariance_of_contexts_is_that_of_logits_at_full_rank():
    gamma, states = arrays()
    covariance = np.cov(states.T)
    metric = context_metric(gamma, np.linalg.inv(covariance))
    whitened = metric.contexts(states - states.mean(axis=0))
    np.testing.assert_allclose(np.cov(whitened.T), np.eye(D), atol=1e-10)
    logits = states @ gamma.T
    slow = np.einsum("nv,vw,nw->n", logits, np.linalg.pinv(gamma @ covariance @ gamma.T), logits)
    np.testing.assert_allclose(np.square(metric.contexts(states)).sum(axis=1), slow, rtol=1e-8)


def test_a_singular_form_and_misfitting_shapes_are_refused():
    gamma, states = arrays()
    with pytest.raises(CausalError, match="the form is singular"):
        context_metric(gamma, np.diag([1.0, 1.0, 1.0, 0.0]))
    assert context_metric(gamma, np.diag([1.0, 1.0, 1.0, 0.0]), ridge=0.01)
    with pytest.raises(CausalError, match=r"contexts of shape \(30, 3\)"):
        fisher_information(gamma, states[:, :3])
