"""One task of one model where more is planted than a shift: unlike extents, massive tokens of one model, what cannot move."""

from statistics import NormalDist

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from stages.drift.clouds import half_rows
from stages.drift.compared_models import ComparedModel
from stages.drift.comparisons import measure_task
from stages.drift.distances import debiased_squared_w2, squared_w2_of_halves
from stages.drift.sample_files import SampleHeader, write_samples
from stages.geometry.transport import common_epsilon, debiased_entropic, entropic_transport, exact_w2, unit_norm
from tests.support import drift_study as study
from tests.support.drift_toy import clusters, compress, course, merge, rotate, shift, split

BASE, SIBLING = ComparedModel("base-s0", "base-s0"), ComparedModel("sft-s0", "base-s0")
ROWS = study.rows()
MASSIVE = {"base": 4, "sibling": 10, "early": 31, "untrained": 52}
"""Drawn tokens, each far too long in one of the stacks alone."""


def along(seed=0, spread=1.0):
    """Points of unlike extent: a toy course with a shift, a compression, a merger, a split, a rotation."""
    start = clusters(3, study.PROMPTS, study.PER_PROMPT + 1, study.D, seed)
    moves = [shift(np.eye(study.D)[1]), compress(0.5), merge(0, 1, by=0.5)]
    moves += [split(2, by=0.7), rotate(np.pi), compress(3.0)]
    found = course(start, moves)
    return spread * found.values + 6.0, spread * found.w2, start


def write(folder, model, states):
    written = ((study.state(name, step), {"one": values}) for (name, step), values in states.items())
    write_samples(folder / f"{model}.h5", SampleHeader(model, "float32", {}), {"one": ROWS}, written)


def tables(folder, subject, **changes):
    found = measure_task(subject, "one", folder, study.params(**{"regularisation": 1.0} | changes))
    return {name: pd.DataFrame(rows) for name, rows in found.items()}


def of(records, kind, measure="w2", basis="raw", tokens="content", state="final"):
    chosen = records["kind"].eq(kind) & records["measure"].eq(measure) & records["basis"].eq(basis)
    found = records[chosen & records["tokens"].eq(tokens) & records["state"].eq(state)]
    return found.sort_values(["point", "other_point"])


def neighbours(rows):
    return rows[rows["other_point"] == rows["point"] + 1]


def clouds(values):
    """Content tokens as float32 keeps them."""
    return values.astype(np.float32).astype(float)[:, ROWS.position > 0]


def best(x, y):
    """W2 of the best pairing."""
    costs = cdist(x, y, "sqeuclidean")
    return costs[linear_sum_assignment(costs)].mean() ** 0.5


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("unlike")
    write(folder, "base-s0", {("final", 20): along()[0]})
    write(folder, "sft-s0", {("final", 20): along(spread=1.5)[0]})
    return folder


@pytest.fixture(scope="module")
def base(folder):
    return tables(folder, BASE)


@pytest.fixture(scope="module")
def sibling(folder):
    return tables(folder, SIBLING)


def test_every_pair_of_layers_lies_as_far_apart_as_its_best_pairing(base):
    values = clouds(along()[0])
    rows = of(base["records"], "layers")
    assert len(rows) == len(values) * (len(values) - 1) // 2
    expected = [best(values[i], values[j]) for i, j in zip(rows["point"], rows["other_point"], strict=True)]
    np.testing.assert_allclose(rows["value"], expected, rtol=1e-5)


def test_a_shift_has_its_length_and_only_a_rotation_costs_the_identity_more_than_it_must(base):
    assert neighbours(of(base["records"], "layers"))["value"].iloc[0] == pytest.approx(1, rel=1e-5)
    ratio = neighbours(of(base["records"], "layers", "identity_ratio"))["value"].to_numpy()
    np.testing.assert_allclose(np.delete(ratio, 4), 1, atol=1e-4)
    assert ratio[4] < 0.5


def test_every_basis_has_the_distance_of_its_own_clouds(base):
    unit = [unit_norm(x) for x in clouds(along()[0])]
    found = neighbours(of(base["records"], "layers", basis="unit"))["value"]
    np.testing.assert_allclose(found, [best(*pair) for pair in zip(unit, unit[1:], strict=False)], rtol=1e-4)
    narrow, raw = (neighbours(of(base["records"], "layers", basis=name))["value"] for name in ("shared_pca", "raw"))
    assert (narrow.to_numpy() <= raw.to_numpy() + 1e-6).all() and (narrow > 0).all()


def test_clouds_with_sinks_are_those_with_position_0_for_the_last_token(base):
    values = along()[0].astype(np.float32).astype(float)
    mask = np.ones(len(ROWS.prompt), bool)
    mask[study.PER_PROMPT :: study.PER_PROMPT + 1] = False
    rows = of(base["records"], "layers", tokens="with_sinks")
    expected = [best(x[mask], y[mask]) for x, y in zip(values, values[1:], strict=False)]
    np.testing.assert_allclose(rows["value"], expected, rtol=1e-5)
    assert set(rows["n"]) == {mask.sum()} == {(ROWS.position > 0).sum()}


@pytest.mark.parametrize("regularisation", [0.4, 2.0])
def test_divergences_of_a_model_share_the_epsilon_of_its_references_layers(folder, regularisation):
    theirs, ours = (list(clouds(along(spread=spread)[0])) for spread in (1.0, 1.5))
    epsilon = common_epsilon(theirs, regularisation)
    rows = of(tables(folder, SIBLING, regularisation=regularisation)["records"], "models", "sinkhorn_divergence")
    for point in (1, 4):
        x, y = theirs[point], ours[point]
        terms = [entropic_transport(a, b, epsilon) for a, b in ((x, y), (x, x), (y, y))]
        assert rows["value"].iloc[point] == pytest.approx(debiased_entropic(*terms).value, rel=1e-5)


def test_an_interval_is_that_of_the_standard_error_of_the_deviations(sibling):
    for kind in ("layers", "models"):
        for measure in ("w2", "identity_cost", "bures_w2"):
            rows = of(sibling["records"], kind, measure)
            rows = neighbours(rows) if kind == "layers" else rows
            draws = sibling["deviations"].query("kind == @kind and measure == @measure")
            assert (draws.groupby("point")["half"].nunique() == study.params().blocks - 1).all()
            error = np.sqrt((draws["value"] ** 2).groupby(draws["point"]).mean())
            np.testing.assert_allclose(rows["standard_error"], error, rtol=1e-9)
            reach = NormalDist().inv_cdf(0.975) * error.to_numpy()
            np.testing.assert_allclose(rows["high"] - rows["value"], reach, rtol=1e-6, atol=1e-12)
            np.testing.assert_allclose(rows["value"] - rows["low"], reach, rtol=1e-6, atol=1e-12)
    assert (error > 0.001).all()


def test_the_baseline_is_what_other_tokens_of_both_clouds_alone_would_make(sibling):
    pairs = half_rows(ROWS.prompt, ROWS.position > 0, study.params().blocks, 0, "one")[:8]
    theirs, ours = (clouds(along(spread=spread)[0]) for spread in (1.0, 1.5))
    rows = of(sibling["records"], "models")
    for point in (0, 3):
        squares = np.array([[exact_w2(z[point][a], z[point][b]).value ** 2 for a, b in pairs] for z in (theirs, ours)])
        assert rows["resample_baseline"].iloc[point] == pytest.approx(np.sqrt(squares.mean(axis=0)).mean(), rel=1e-6)
    assert of(sibling["records"], "models", "identity_cost")["resample_baseline"].isna().all()


def test_sizes_have_deviations_of_their_own(sibling):
    """Variance and directions of a cloud are unlike numbers: each deviates about its own value over halves."""
    pairs = half_rows(ROWS.prompt, ROWS.position > 0, study.params().blocks, 0, "one")
    x = clouds(along(spread=1.5)[0])[2]
    logs = [[np.log(x[rows].var(axis=0).sum()) for rows in pair] for pair in pairs]
    draws = sibling["profile_deviations"].query("measure == 'log_total_variance' and point == 2")["value"]
    np.testing.assert_allclose(draws, [(one - other) / 2 for one, other in logs], rtol=1e-4, atol=1e-9)
    whole = sibling["profile"].query("measure == 'total_variance' and tokens == 'content' and point == 2")["value"]
    assert whole.item() == pytest.approx(x.var(axis=0).sum(), rel=1e-6)


def test_a_rotated_cloud_is_as_far_as_an_unrelated_one_and_a_noisy_one_is_near(base):
    generator = np.random.default_rng(5)
    rotations = [np.linalg.qr(generator.standard_normal((study.D, study.D)))[0] for _ in range(20)]
    rotated, noisy = (of(base["records"], kind)["value"].to_numpy() for kind in ("rotated", "noisy"))
    for point, x in enumerate(clouds(along()[0])):
        unrelated = np.mean([best(x, x @ turn) for turn in rotations])
        assert rotated[point] == pytest.approx(unrelated, rel=0.3)
        assert noisy[point] < 0.1 * rotated[point]
    assert of(base["records"], "rotated", "cka_debiased").empty  # the cheap distances only


@pytest.fixture(scope="module")
def massive(tmp_path_factory):
    """Each stack has one token of its own that is a hundred times too long at one point."""
    folder = tmp_path_factory.mktemp("massive")
    values = {name: along(spread=spread)[0] for name, spread in zip(MASSIVE, (1.0, 1.1, 0.9, 1.3), strict=True)}
    for name, row in MASSIVE.items():
        values[name][3, row] *= 100
    write(folder, "base-s0", {("final", 20): values["base"]})
    trained = {("step-10", 10): values["early"], ("final", 20): values["sibling"]}
    write(folder, "sft-s0", trained | {("untrained", -1): values["untrained"]})
    return tables(folder, SIBLING)["records"]


@pytest.mark.parametrize(("kind", "state", "left_out"), [
    ("layers", "final", {"sibling"}),
    ("models", "final", {"sibling", "base"}),
    ("checkpoints", "final", {"sibling", "early"}),
    ("layers", "untrained", {"untrained"}),
])  # fmt: skip
def test_tokens_massive_in_what_is_compared_are_left_out_of_it_and_no_others(massive, kind, state, left_out):
    rows = of(massive, kind, state=state)
    assert set(rows["n"]) == {(ROWS.position > 0).sum() - len(left_out)}
    drawn = ROWS.position > 0
    drawn[[MASSIVE[name] for name in left_out]] = False
    spreads = {"sibling": 1.1, "base": 1.0, "early": 0.9, "untrained": 1.3}
    ours = along(spread=spreads["untrained" if state == "untrained" else "sibling"])[0][:, drawn]
    if kind == "layers":
        expected = [best(ours[i], ours[i + 1]) for i in range(len(ours) - 1)]
        found = neighbours(rows)["value"]
    else:
        theirs = along(spread=spreads["base" if kind == "models" else "early"])[0][:, drawn]
        expected, found = [best(x, y) for x, y in zip(theirs, ours, strict=True)], rows["value"]
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_a_sibling_that_only_spread_is_found_at_its_distance(sibling):
    """y = 1.5 x - 3: the gradient of a convex function, so that the identity is optimal."""
    theirs, ours = (clouds(along(spread=spread)[0]) for spread in (1.0, 1.5))
    expected = np.sqrt(np.square(ours - theirs).sum(axis=-1).mean(axis=1))
    rows = of(sibling["records"], "models")
    np.testing.assert_allclose(rows["value"], expected, rtol=1e-4)
    np.testing.assert_allclose(of(sibling["records"], "models", "cka_debiased")["value"], 1, atol=1e-4)
    assert (rows["low"] < rows["value"]).all() and (rows["low"] > 0).all()


def test_a_copy_of_the_reference_is_at_no_distance_and_its_ratio_is_missing_with_the_reason(tmp_path):
    write(tmp_path, "base-s0", {("final", 20): along()[0]})
    write(tmp_path, "sft-s0", {("final", 20): along()[0]})
    records = tables(tmp_path, SIBLING)["records"]
    for measure in ("w2", "identity_cost", "bures_w2", "sliced_w2", "sinkhorn_divergence", "debiased_w2_squared"):
        np.testing.assert_allclose(of(records, "models", measure)["value"], 0, atol=1e-5, err_msg=measure)
    ratio = of(records, "models", "identity_ratio")
    assert ratio["value"].isna().all() and ratio["missing"].str.contains("0 / 0").all()


def test_other_tokens_of_one_distribution_are_no_distance_once_debiased_and_a_shift_of_them_is():
    """Unpaired clouds: plain W2 is far from 0, the debiased one is not, over independent samples."""
    prompt = np.repeat(np.arange(study.PROMPTS), study.PER_PROMPT)
    halves = half_rows(prompt, np.ones(len(prompt), bool), 8, 0, "one")

    def sample(seed):
        return clusters(2, study.PROMPTS, study.PER_PROMPT, study.D, seed).values

    def debiased_of(x, y):
        return debiased_squared_w2(x, y, halves, squared_w2_of_halves(x, halves), squared_w2_of_halves(y, halves))

    nulls = np.array([debiased_of(sample(seed), sample(1000 + seed)) for seed in range(40)])
    plain = np.mean([exact_w2(sample(seed), sample(1000 + seed)).value ** 2 for seed in range(5)])
    assert abs(nulls.mean()) < 3 * nulls.std() / np.sqrt(len(nulls))
    assert abs(nulls.mean()) < 0.1 * plain
    apart = np.array([debiased_of(sample(seed), sample(1000 + seed) + np.eye(study.D)[2]) for seed in range(10)])
    assert apart.min() > nulls.max() and apart.mean() == pytest.approx(1, abs=0.25)
