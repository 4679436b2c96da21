"""Every distance against its plain formula, and the debiased one where nothing moved."""

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from stages.drift import distances as of
from stages.geometry.similarity import debiased_cka
from stages.geometry.transport import common_epsilon
from tests.support import drift_study as study
from tests.support.transport_oracles import sinkhorn_divergence

PARAMS = study.params()


def cloud(n=40, d=5, seed=0):
    return np.random.default_rng(seed).standard_normal((n, d)) + 3


def measured(x, y):
    (terms,) = of.entropic_terms([(x, y)], common_epsilon([x, y], PARAMS.regularisation))
    return {name: found.value for name, found in of.all_distances(x, y, terms, PARAMS).items()}


def test_all_by_their_plain_formulas():
    x, y = cloud(), cloud(seed=1)
    costs = cdist(x, y, "sqeuclidean")
    rows, columns = linear_sum_assignment(costs)
    found = measured(x, y)
    assert found["w2"] ** 2 == pytest.approx(costs[rows, columns].mean())
    assert found["identity_cost"] == pytest.approx(np.trace(costs) / len(x))
    assert found["identity_ratio"] == pytest.approx(found["w2"] ** 2 / found["identity_cost"])
    assert found["exact_plan_identity_share"] == pytest.approx((rows == columns).mean())
    assert found["exact_plan_identity_chance"] == pytest.approx(1 / len(x))
    assert (found["exact_plan_density"], found["exact_plan_one_to_one"]) == (pytest.approx(1 / len(x)), 1)
    for name, metric in (("euclidean", "euclidean"), ("cosine", "cosine"), ("manhattan", "cityblock")):
        assert found[f"all_{name}"] == pytest.approx(cdist(x, y, metric).mean())
        assert found[f"paired_{name}"] == pytest.approx(np.diag(cdist(x, y, metric)).mean())
    assert found["sinkhorn_divergence"] == pytest.approx(sinkhorn_divergence(x, y, PARAMS.regularisation).value)


@pytest.mark.parametrize("shape", [(40, 5), (12, 30)])
def test_cka_of_wide_and_of_long_clouds_is_the_same_measure(shape):
    x, y = cloud(*shape), cloud(*shape) + 0.5 * cloud(*shape, seed=1)
    assert measured(x, y)["cka_debiased"] == pytest.approx(float(debiased_cka(x, y)), abs=1e-10)


def test_a_translation_moves_all_by_its_length():
    x = cloud()
    found = measured(x, x + np.array([3.0, 4, 0, 0, 0]))
    for name in ("w2", "bures_w2", "paired_euclidean"):
        assert found[name] == pytest.approx(5)
    assert found["identity_ratio"] == pytest.approx(1) and found["exact_plan_identity_share"] == pytest.approx(1)
    assert found["cka_debiased"] == pytest.approx(1) and found["procrustes"] == pytest.approx(0, abs=1e-9)


def test_tokens_that_trade_places_go_nowhere():
    x = cloud()
    found = measured(x, x[np.random.default_rng(0).permutation(len(x))])
    assert found["w2"] == pytest.approx(0, abs=1e-7) and found["identity_ratio"] == pytest.approx(0, abs=1e-12)
    assert found["identity_cost"] > 1 and found["sinkhorn_divergence"] == pytest.approx(0, abs=1e-6)


def test_equal_tokens_may_trade_places_at_no_cost_to_the_identity():
    x = np.repeat(cloud(10), 4, axis=0)
    found = measured(x, x + 1)
    assert found["exact_plan_identity_share"] == pytest.approx(1)
    assert found["exact_plan_identity_chance"] == pytest.approx(0.1)


def test_a_cloud_without_extent_has_missing_numbers_with_reasons():
    x, y = np.ones((20, 4)), cloud(20, 4)
    (terms,) = of.entropic_terms([(x, y)], common_epsilon([x, y], PARAMS.regularisation))
    found = of.all_distances(x, y, terms, PARAMS)
    assert np.isnan(found["procrustes"].value) and "without extent" in found["procrustes"].reason
    assert np.isnan(found["cka_debiased"].value) and found["cka_debiased"].reason
    assert np.isfinite(found["w2"].value)


def dependent(generator, prompts=64, d=3):
    """Two tokens of each prompt, which share most of their place."""
    return np.repeat(generator.standard_normal((prompts, d)), 2, axis=0) + 0.3 * generator.standard_normal(
        (2 * prompts, d)
    )


def halves_of(prompts=64):
    from stages.drift.clouds import half_rows

    return half_rows(np.repeat(np.arange(prompts), 2), np.ones(2 * prompts, bool), 16, 0, "task")


def debiased_of(x, y):
    halves = halves_of()
    return of.debiased_squared_w2(x, y, halves, of.squared_w2_of_halves(x, halves), of.squared_w2_of_halves(y, halves))


def test_the_debiased_distance_is_centred_where_only_tokens_differ_and_finds_a_shift():
    generator = np.random.default_rng(0)
    nulls = np.array([debiased_of(dependent(generator), dependent(generator)) for _ in range(30)])
    x = dependent(generator)
    plain = np.mean(of.squared_w2_of_halves(x, halves_of()))
    assert abs(nulls.mean()) < 3 * nulls.std() / np.sqrt(len(nulls)) + 0.01 and abs(nulls.mean()) < plain / 10
    assert (nulls < 0).any() and (nulls > 0).any()
    assert debiased_of(x, x + 4.0) == pytest.approx(48, rel=0.15)


def test_standard_errors_are_those_of_repeated_samples_of_prompts():
    """Of the identity cost, a mean over prompts whose two tokens go together: tokens as units would halve its variance."""
    generator = np.random.default_rng(1)
    values, errors = [], []
    for _ in range(200):
        x = dependent(generator)
        step = np.repeat(generator.gamma(1.0, size=(64, 1)), 2, axis=0)
        y = x + step * np.eye(3)[0]
        values.append(float(np.square(y - x).sum(axis=1).mean()))
        errors.append(
            np.sqrt((of.half_deviations(x, y, halves_of())["identity_cost"] ** 2).mean())
            if len(errors) < 40
            else np.nan
        )
    assert np.sqrt(np.nanmean(np.square(errors))) == pytest.approx(np.std(values), rel=0.25)


def test_gromov_reads_no_rotation():
    x = cloud(60, 4)
    turned = x @ np.linalg.qr(np.random.default_rng(0).standard_normal((4, 4)))[0]
    assert of.gromov_distance(x, turned, 30, 0).value == pytest.approx(0, abs=1e-6)
    assert of.gromov_distance(x, 2 * x, 30, 0).value > 0.5
