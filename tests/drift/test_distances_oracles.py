"""What is built of single distances, against plain loops: half-samples, debiasing, shared entropic terms, subsets."""

import numpy as np
import pytest

from stages.drift import distances as of
from stages.drift.clouds import half_rows
from stages.geometry.plans import diagnose
from stages.geometry.transport import bures_w2, exact_w2, gromov_wasserstein, identity_cost, legacy_transport, sliced_w2
from stages.statistics.deviations import rms_standard_error
from tests.support import drift_study as study
from tests.support.transport_oracles import debiased_w2, entropic_plan, sinkhorn_divergence

PROMPTS, BLOCKS, D = 64, 16, 3
MEASURES = {"w2": lambda x, y: exact_w2(x, y).value, "identity_cost": identity_cost, "bures_w2": bures_w2}


def hadamard_halves(prompt, kept=None):
    kept = np.ones(len(prompt), bool) if kept is None else kept
    return half_rows(prompt, kept, BLOCKS, 0, "task")


OF_PROMPTS = hadamard_halves(np.repeat(np.arange(PROMPTS), 2))


def cloud(generator, scale=1.0):
    """Two tokens of each prompt, which share most of their place."""
    own = 0.3 * generator.standard_normal((2 * PROMPTS, D))
    return scale * (np.repeat(generator.standard_normal((PROMPTS, D)), 2, axis=0) + own)


def moved(generator):
    """A cloud, and where its tokens go: by a step of the prompt's own."""
    x = cloud(generator)
    return x, x + np.repeat(1 + generator.gamma(1.0, size=(PROMPTS, 1)), 2, axis=0) * np.eye(D)[0]


def pair(seed=0):
    """Unlike in place, spread and pairing."""
    generator = np.random.default_rng(seed)
    x = cloud(generator)
    return x, 0.5 * x + cloud(generator, 0.4) + np.array([1.0, 0, -1])


@pytest.mark.parametrize("name", MEASURES)
def test_deviations_are_half_the_difference_of_complements(name):
    x, y = pair()
    expected = [(MEASURES[name](x[a], y[a]) - MEASURES[name](x[b], y[b])) / 2 for a, b in OF_PROMPTS]
    np.testing.assert_allclose(of.half_deviations(x, y, OF_PROMPTS)[name], expected, rtol=1e-12)
    assert set(of.half_deviations(x, y, OF_PROMPTS)) == set(MEASURES) == set(of.WITH_INTERVAL)


def test_errors_are_those_of_other_prompts_and_too_small_where_tokens_count_as_independent():
    generator = np.random.default_rng(1)
    drawn = [moved(generator) for _ in range(250)]
    of_tokens = hadamard_halves(np.arange(2 * PROMPTS))
    for name in ("w2", "bures_w2"):
        truth = np.std([MEASURES[name](x, y) for x, y in drawn])
        found, naive = (
            np.sqrt(np.mean([rms_standard_error(of.half_deviations(x, y, by)[name]) ** 2 for x, y in drawn[:25]]))
            for by in (OF_PROMPTS, of_tokens)
        )
        assert found == pytest.approx(truth, rel=0.2), name
        assert naive < 0.8 * truth, name


def test_debiased_is_the_mean_over_pairs_of_halves():
    x, y = pair()
    expected = np.mean([debiased_w2(x[a], x[b], y[a], y[b]) for a, b in OF_PROMPTS[: of.CROSSED]])
    within_x, within_y = (of.squared_w2_of_halves(z, OF_PROMPTS) for z in (x, y))
    np.testing.assert_allclose(within_y, [exact_w2(y[a], y[b]).value ** 2 for a, b in OF_PROMPTS[: of.CROSSED]])
    assert of.debiased_squared_w2(x, y, OF_PROMPTS, within_x, within_y) == pytest.approx(expected, rel=1e-12)


def test_debiased_of_a_cloud_and_itself_is_0_on_average_and_the_same_in_both_directions():
    x, y = pair()
    within_x, within_y = (of.squared_w2_of_halves(z, OF_PROMPTS) for z in (x, y))
    assert of.debiased_squared_w2(x, x, OF_PROMPTS, within_x, within_x) == pytest.approx(0, abs=1e-12)
    there = of.debiased_squared_w2(x, y, OF_PROMPTS, within_x, within_y)
    turned = [(b, a) for a, b in OF_PROMPTS]
    assert of.debiased_squared_w2(y, x, turned, within_y, within_x) == pytest.approx(there, rel=1e-9)


def test_halves_of_unlike_size_are_cut_to_one():
    prompt, kept = np.repeat(np.arange(PROMPTS), 2), np.ones(2 * PROMPTS, bool)
    kept[[3, 40, 41, 77, 90]] = False
    unlike, (x, y) = hadamard_halves(prompt, kept), (z[kept] for z in pair())
    assert any(len(a) != len(b) for a, b in unlike)
    sizes = [min(len(a), len(b)) for a, b in unlike[: of.CROSSED]]
    expected = [
        debiased_w2(x[a[:n]], x[b[:n]], y[a[:n]], y[b[:n]])
        for n, (a, b) in zip(sizes, unlike[: of.CROSSED], strict=True)
    ]
    found = of.debiased_squared_w2(x, y, unlike, *(of.squared_w2_of_halves(z, unlike) for z in (x, y)))
    assert found == pytest.approx(np.mean(expected), rel=1e-12)


def test_what_is_said_of_an_entropic_plan_is_said_of_that_plan():
    x, y = pair()
    (terms,) = of.entropic_terms([(x, y)], epsilon_of(x, y))
    found = of.all_distances(x, y, terms, study.params())
    expected = diagnose(entropic_plan(x, y, study.params().regularisation).plan)
    for name in ("density", "concentration", "identity_share", "one_to_one", "entropy"):
        assert found[f"entropic_plan_{name}"].value == pytest.approx(getattr(expected, name), rel=1e-6)
    assert found["entropic_plan_density"].value > 2 * found["exact_plan_density"].value


def test_a_plan_that_did_not_converge_leaves_its_numbers_empty_with_the_reason_and_the_others_whole():
    x, y = pair()
    (terms,) = of.entropic_terms([(x, y)], epsilon_of(x, y))
    failed = terms._replace(cross=terms.cross._replace(value=float("nan"), plan=None, reason="did not converge"))
    found = of.all_distances(x, y, failed, study.params())
    empty = {name for name, value in found.items() if value.reason}
    assert empty == {name for name in found if name.startswith("entropic_plan_")} | {"sinkhorn_divergence"}
    assert all(np.isnan(found[name].value) and found[name].reason == "did not converge" for name in empty)


def epsilon_of(x, y):
    costs = np.square(x[:, None] - y[None]).sum(axis=-1)
    return study.params().regularisation * np.median(costs)


def test_a_cloud_in_many_pairs_is_compared_with_itself_once(monkeypatch):
    clouds = [cloud(np.random.default_rng(seed)) for seed in range(3)]
    calls, original = [], of.entropic_transport
    monkeypatch.setattr(of, "entropic_transport", lambda x, y, epsilon: calls.append(x is y) or original(x, y, epsilon))
    pairs = [(clouds[i], clouds[j]) for i, j in ((0, 1), (0, 2), (1, 2))]
    found = list(of.entropic_terms(pairs, 0.5))
    assert (calls.count(True), calls.count(False)) == (3, 3)
    for (x, y), terms in zip(pairs, found, strict=True):
        own = [original(z, z, 0.5).value for z in (x, y)]
        assert (terms.self_x.value, terms.self_y.value) == pytest.approx(own)
        assert terms.cross.value == pytest.approx(original(x, y, 0.5).value)


def test_a_divergence_at_the_own_epsilon_is_that_of_the_library_and_another_epsilon_gives_another():
    x, y = pair()
    expected = sinkhorn_divergence(x, y, study.params().regularisation).value
    found = []
    for epsilon in (epsilon_of(x, y), 10 * epsilon_of(x, y)):
        (terms,) = of.entropic_terms([(x, y)], epsilon)
        found.append(of.all_distances(x, y, terms, study.params())["sinkhorn_divergence"].value)
    assert found[0] == pytest.approx(expected, rel=1e-6) and abs(found[1] / expected - 1) > 0.001


def test_sliced_takes_its_number_of_directions_and_its_seed():
    x, y = pair()
    for changes in ({"projections": 10, "seed": 0}, {"projections": 30, "seed": 4}):
        found = of.transport_distances(x, y, study.params(**changes))["sliced_w2"].value
        assert found == sliced_w2(x, y, changes["projections"], changes["seed"])
    assert sliced_w2(x, y, 10, 0) != sliced_w2(x, y, 10, 4)


def test_gromov_draws_tokens_by_its_seed_and_not_the_first_ones():
    """Only the first ten tokens of ninety change their distances."""
    x = np.random.default_rng(0).standard_normal((90, 2))
    y = np.concatenate([5 * x[:10], x[10:]])
    drawn = np.random.default_rng(3).permutation(90)[:10]
    assert of.gromov_distance(x, y, 10, 3).value == pytest.approx(gromov_wasserstein(x[drawn], y[drawn], seed=3).value)
    assert of.gromov_distance(x, y, 10, 3).value < 0.8 * gromov_wasserstein(x[:10], y[:10]).value
    assert of.gromov_distance(x, y, 1000, 0).value > 0


def test_the_prior_distance_takes_as_many_components_as_there_are():
    x, y = pair()
    assert of.legacy_distance(x, y, 32).value == legacy_transport(x, y, D)
    assert of.legacy_distance(x, y, 2).value == legacy_transport(x, y, 2) != legacy_transport(x, y, D)


def test_rows_of_one_place_have_no_ratio_and_say_why():
    x, _ = pair()
    ratio = of.transport_distances(x, x.copy(), study.params())["identity_ratio"]
    assert np.isnan(ratio.value) and "both clouds are the same" in ratio.reason
