"""Many models against one reference: the numbers of the records, at a fraction of their cost."""

import numpy as np
import pytest

from stages.geometry.resampling import factorise_subsets
from stages.geometry.similarity import debiased_cka
from stages.geometry.spectrum import effective_rank, factorise
from stages.geometry.subspace import preservation, preservation_chance
from stages.paradigms.fast_scores import compare, reference_layer, reference_layers
from stages.paradigms.site_records import measure_plan, measure_site
from stages.statistics.ceiling import adjusted_index, noise_ceiling
from stages.statistics.half_sampling import PAIRS, quarters
from tests.support.measure_params import measure_params

N, K = 64, 3


def pair(d, noise=0.3, seed=0):
    random = np.random.default_rng(seed)
    x = random.standard_normal((N, d)) * np.geomspace(5, 0.3, d) + 2
    return x.astype(np.float32), (x + noise * random.standard_normal((N, d))).astype(np.float32)


def level(d):
    return float(preservation_chance(d, K, 200, 0).mean())


@pytest.mark.parametrize("d", [12, 200])  # fewer and more dimensions than prompts
def test_scores_are_those_of_the_plain_formulas(d):
    x, y = pair(d)
    parts = quarters(N, 4, 0, "logic")
    found = compare(reference_layer(x, parts, K, level(d)), y)
    halves = [factorise_subsets(z.astype(float), parts, PAIRS, True, K, every_pair=True).halves.basis for z in (x, y)]
    cross = (preservation(halves[0][:, 0], halves[1][:, 1]) + preservation(halves[0][:, 1], halves[1][:, 0])) / 2
    ceiling = noise_ceiling(*(preservation(h[:, 0], h[:, 1]) for h in halves))
    assert found.index == pytest.approx(float(adjusted_index(cross.mean(), ceiling.mean(), level(d))), abs=1e-6)
    whole = [factorise(z, True, K) for z in (x, y)]
    assert found.preservation == pytest.approx(preservation(whole[0].basis, whole[1].basis), abs=1e-7)
    assert found.effective_rank == pytest.approx(effective_rank(whole[1]))
    assert found.cka == pytest.approx(debiased_cka(x, y))


@pytest.mark.parametrize("d", [12, 200])
def test_both_implementations_are_equal(d):
    """`fast_scores` and its twin `variant_records` give the same preservation, index, effective rank and CKA."""
    x, y = pair(d)
    parts = quarters(N, 4, 0, "logic")
    plan = measure_plan(N, d, measure_params(ks=[K]), parts, 1)
    scores = compare(reference_layer(x, parts, K, plan.chance["preservation", K]), y)
    rows = {(row["measure"], row["variant"]): row for row in measure_site(x, y, plan, "last_token", True).records}
    assert scores.preservation == pytest.approx(rows["preservation", f"centred_k{K}"]["value"], abs=1e-6)
    assert scores.index == pytest.approx(rows["preservation", f"centred_k{K}"]["index"], abs=1e-6)
    assert scores.effective_rank == pytest.approx(rows["effective_rank", "centred_singular"]["value"], rel=1e-5)
    assert scores.cka == pytest.approx(rows["cka", "debiased"]["value"], abs=1e-6)


def test_the_reference_itself_scores_one():
    x, _ = pair(12)
    found = compare(reference_layer(x, quarters(N, 2, 0), K, level(12)), x)
    assert (found.index, found.preservation) == pytest.approx((1, 1))
    assert found.cka == pytest.approx(1)


def test_another_cloud_scores_chance():
    x, _ = pair(40)
    stranger = np.random.default_rng(7).standard_normal((N, 40)) @ np.random.default_rng(8).standard_normal((40, 40))
    assert abs(compare(reference_layer(x, quarters(N, 8, 0), K, level(40)), stranger).index) < 0.3


def test_a_site_without_variance_has_no_scores():
    x, y = pair(12)
    constant = np.ones_like(x)
    layers = reference_layers(np.stack([constant, x]), quarters(N, 2, 0), K, level(12))
    assert np.isnan(compare(layers[0], y)).all() and np.isnan(compare(layers[1], constant)).all()
    assert np.isfinite(compare(layers[1], y)).all()
