"""A short run of the calibration benchmark with wide bounds, and its statistics against those of the stages."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from stages.paradigms.site_records import measure_plan, measure_site
from stages.statistics.half_sampling import half_sample_standard_error, partitions_for, quarters
from tests.speed import calibration as benchmark
from tests.support.project import ROOT

PAIRS = 60
SHAPE = benchmark.LIKE_STUDY


@pytest.fixture(scope="module")
def null():
    return benchmark.rejected(benchmark.many(benchmark.null_pair, PAIRS, SHAPE))


@pytest.mark.parametrize(
    "test",
    [
        *(f"{quantity}_{where}" for quantity in ("preservation_index", "effective_rank", "cka") for where in ("average", "somewhere")),
        "sign_flip",
    ],
)  # fmt: skip
def test_nothing_is_found_where_nothing_is(null, test):
    assert null[test]["rate"] <= 0.17  # of 60 at .05: more once in 10,000 runs
    assert null[test]["low"] <= 0.05


def test_two_updates_of_the_same_size_in_a_mirror_have_equal_population_values():
    generator = np.random.default_rng(0)
    network = benchmark.base(generator, SHAPE)
    delta = benchmark.update(generator, network.weights)
    mirrored = benchmark.reflected(generator, delta)
    assert np.abs(mirrored - delta).max() > 0.1 * np.abs(delta).max()
    assert np.linalg.norm(mirrored) == pytest.approx(np.linalg.norm(delta))
    x = benchmark.prompts(generator, network, SHAPE.prompts)
    signs = np.sign((mirrored[0] / delta[0])[0])
    for one, other in zip(
        benchmark.states(network.weights + delta, x * signs),
        benchmark.states(network.weights + mirrored, x),
        strict=True,
    ):
        np.testing.assert_allclose(one * signs, other, atol=1e-12)


def test_a_planted_effect_is_found():
    assert np.mean(np.array(benchmark.many(benchmark.planted_pair, 20, SHAPE, 1.0)) > 1.96) > 0.8


def test_intervals_cover():
    found = benchmark.coverage(SHAPE, 40, 50_000)
    for quantity, leaves in found.items():
        assert leaves["high"] >= 0.92, quantity
        assert 0.7 < leaves["error_ratio"] < 1.5, quantity


def test_welch_over_layers_rejects_most_of_the_time():
    assert np.mean(np.array(benchmark.many(benchmark.correlated_layers, 200)) <= 0.05) > 0.6


def test_the_committed_result_passes():
    """Tests reject at most about as often as they say, intervals cover, and a planted effect is found."""
    found = json.loads((ROOT / benchmark.RESULT).read_text())
    for name, test in (found["null"] | {"families": found["families"]}).items():
        assert test["low"] <= 0.05 and test["high"] <= 0.075, name
    for name, quantity in found["coverage"].items():
        assert 0.92 <= quantity["rate"] <= 0.98, name
    for name, quantity in found["coverage_hard"].items():
        assert quantity["high"] >= 0.92, name  # with so few prompts intervals may be too wide, not too narrow
    assert found["power"]["high"] >= 0.85
    assert found["legacy_welch"]["low"] > 0.7
    assert min(found["unequal_updates"].values()) > 0.1  # "no difference" is then false, and is found to be


def test_the_statistics_are_those_of_the_stage():
    """Values and half-samples of one site, from here and from `measure_site`."""
    params = SimpleNamespace(
        ks=[SHAPE.k], decay_ranks=[SimpleNamespace(first=0.08, last=0.8)], bands=[0, 0.3, 1], components_share=0.9,
        legacy_k=100, nulls=SimpleNamespace(subspaces=1000, spectra=2), topology=None, confidence=0.95, seed=0,
    )  # fmt: skip
    network, delta = benchmark.fixed(SHAPE)
    x = benchmark.prompts(np.random.default_rng(0), network, SHAPE.prompts)
    halves = quarters(SHAPE.prompts, partitions_for(60), 0)
    clouds = [benchmark.states(weights, x)[-1] for weights in (network.weights, network.weights + delta)]
    site = measure_site(*clouds, measure_plan(*x.shape, params, halves, 2), "last_token", True)
    rows = {(row["measure"], row["variant"]): row for row in site.records}
    reference, model = (benchmark.cloud(z, halves, SHAPE) for z in clouds)
    names = ("preservation", f"centred_k{SHAPE.k}"), ("effective_rank", "centred_singular"), ("cka", "debiased")
    index, rank, cka = (
        benchmark.preservation_index(reference, model),
        benchmark.log_rank(reference, model),
        benchmark.cka(reference, model, halves),
    )
    rank = benchmark.Measured(np.exp(rank.value), np.exp(rank.replicates))
    for name, quantity, found in zip(names, ("index", "value", "value"), (index, rank, cka), strict=True):
        assert float(found.value) == pytest.approx(rows[name][quantity])
        np.testing.assert_allclose(found.replicates, site.replicates[*name, quantity])
        error = rows[name]["index_standard_error" if quantity == "index" else "standard_error"]
        assert half_sample_standard_error(found.replicates, SHAPE.prompts) == pytest.approx(error)
