"""The adjusted index on models whose relation is known, its coverage, and sites that cannot be measured."""

from types import SimpleNamespace

import numpy as np
import pytest

from stages.paradigms.site_records import measure_plan, measure_site
from stages.statistics.half_sampling import partitions_for, quarters
from tests.support.plain_measures import evaluate

PARAMS = SimpleNamespace(
    ks=[3, 5], decay_ranks=[SimpleNamespace(first=0.08, last=0.8)], bands=[0, 0.3, 1], components_share=0.9, legacy_k=100,
    nulls=SimpleNamespace(subspaces=500, spectra=4), topology=None, confidence=0.95, seed=0,
)  # fmt: skip
D = 24
WITHOUT_CHANCE = ("norm_mean", "norm_spread", "largest_norm", "largest_value")


def spectrum(d=D):
    """Three strong directions, two weaker ones, a tail."""
    return np.concatenate([[4.0, 3.5, 3.0, 1.8, 1.6], np.full(d - 5, 0.5)])


def measured(x, y, half_samples=204, with_interval=True, params=PARAMS):
    n, d = x.shape
    parts = quarters(n, partitions_for(half_samples), 0, "task")
    return measure_site(x, y, measure_plan(n, d, params, parts, 2), "last_token", with_interval)


def record(site, measure="preservation", variant="centred_k3"):
    return next(row for row in site.records if (row["measure"], row["variant"]) == (measure, variant))


def cloud(n, seed, d=D):
    return np.random.default_rng(seed).standard_normal((n, d)) * spectrum(d) + 2


def test_noise_alone_stays_within_the_equivalence_margin():
    x = cloud(400, 0)
    y = x + 2.5 * np.random.default_rng(1).standard_normal(x.shape)
    row = record(measured(x, y))
    assert row["value"] < 0.99  # read as it stands, that would be a loss
    assert abs(row["index"] - 1) < 0.05


def test_a_model_against_itself_has_index_one_without_error():
    x = cloud(200, 0)
    row = record(measured(x, x, 24))
    assert row["value"] == pytest.approx(1) and row["index"] == pytest.approx(1)
    assert row["index_standard_error"] == pytest.approx(0, abs=1e-12)


def test_unrelated_subspaces_have_index_zero():
    found = []
    for seed in range(12):
        rotation = np.linalg.qr(np.random.default_rng(seed).standard_normal((D, D)))[0]
        x = cloud(300, seed)
        found.append(record(measured(x, x @ rotation, 12))["index"])
    assert abs(np.mean(found)) < 0.12


def test_a_rotated_direction_is_found_at_its_size():
    """One of three directions turned by 90 degrees: two thirds of the cosines stay."""
    swap = np.eye(D)
    swap[:, [2, 10]] = swap[:, [10, 2]]
    x = cloud(800, 0)
    row = record(measured(x, x @ swap))
    truth = (2 / 3 - row["null"]) / (1 - row["null"])
    assert row["index_low"] < truth + 0.05 and row["index_high"] > truth - 0.05
    assert row["index_high"] < 0.8


def test_intervals_cover_the_index_of_the_population():
    """Nominal 95 % on a noisy difference; conservative, since a replicate averages one split and the estimate many."""
    noise = np.random.default_rng(99)
    mix = np.eye(D) + 0.25 * noise.standard_normal((D, D)) / np.sqrt(D) * 3
    covariances = np.diag(spectrum() ** 2), mix.T @ np.diag(spectrum() ** 2) @ mix
    bases = [np.linalg.eigh(c)[1][:, ::-1][:, :3] for c in covariances]
    same = np.linalg.svd(bases[0].T @ bases[1], compute_uv=False).mean()
    hits = {"value": [], "index": []}
    for seed in range(40):
        x = cloud(300, seed)
        row = record(measured(x, (x - 2) @ mix, 102))
        truth = {"value": same, "index": (same - row["null"]) / (1 - row["null"])}
        hits["value"].append(row["low"] <= truth["value"] <= row["high"])
        hits["index"].append(row["index_low"] <= truth["index"] <= row["index_high"])
    assert np.mean(hits["value"]) >= 0.85 and np.mean(hits["index"]) >= 0.85


@pytest.mark.parametrize("d", [12, 150])
def test_every_value_is_that_of_the_plain_evaluation(d):
    """The shared factorisation, more or fewer prompts than dimensions, against one factorisation per measure."""
    generator = np.random.default_rng(0)
    x = generator.standard_normal((64, d)) * np.geomspace(3, 0.2, d) + 1
    y = x + 0.3 * generator.standard_normal((64, d))
    parts = quarters(64, 2, 0)
    task = measure_plan(64, d, PARAMS, parts, 1)
    site = measure_site(x, y, task, "last_token", True)
    for measure in task.measures:
        for variant in measure.variants:
            row = record(site, measure.name, variant.name)
            assert row["value"] == pytest.approx(evaluate(measure, variant, x, y), rel=1e-6, nan_ok=True), (
                measure.name,
                variant.name,
            )


def test_a_constant_site_is_missing_with_its_reason():
    x = cloud(40, 0)
    flat = np.full((40, D), 3.3, np.float32)
    collapsed = "collapsed, where the other side has variance"
    for pair, who, why in (
        ((flat, flat), "the reference and the model", "constant by design"),
        ((x, flat), "the model", collapsed),
        ((flat, x), "the reference", collapsed),
    ):
        site = measured(*pair, 12)
        assert len(site.records) == sum(
            len(m.variants) for m in measure_plan(40, D, PARAMS, quarters(40, 2, 0), 2).measures
        )
        assert all(
            np.isnan(row["value"]) and row["missing"] == f"{why}: last_token of {who} has no variance over the prompts"
            for row in site.records
        )
        assert not site.replicates and not site.spectra


def test_too_many_directions_are_missing_and_flagged_when_above_the_effective_rank():
    params = SimpleNamespace(**{**vars(PARAMS), "ks": [3, 5, 11, 30]})
    site = measured(cloud(48, 0), cloud(48, 0) + 0.1, 12, params=params)
    assert "k = 30 is above 11" in record(site, variant="centred_k30")["missing"]
    assert "above the effective rank" in record(site, variant="centred_k11")["note"]
    assert record(site)["note"] == ""


def test_without_an_interval_there_are_values_baselines_and_indices_but_no_errors():
    x = cloud(200, 0)
    site = measured(x, x + 0.3 * np.random.default_rng(1).standard_normal(x.shape), with_interval=False)
    row = record(site)
    assert np.isfinite([row["value"], row["null"], row["resample_baseline"], row["ceiling"], row["index"]]).all()
    assert np.isnan([row["standard_error"], row["low"], row["index_low"]]).all()
    assert not site.replicates


def test_spectra_come_with_noise_of_the_same_total():
    x = cloud(100, 0)
    values, noise = measured(x, x, 12).spectra["centred"]
    assert noise.sum() == pytest.approx(values.sum()) and values[0] > noise[0] and values[-1] < noise[-1]


def test_measures_of_the_rows_have_value_null_and_baseline():
    x = cloud(400, 0)
    site = measured(x, x + 1, with_interval=False)
    units = (x + 1) / np.linalg.norm(x + 1, axis=1, keepdims=True)
    cosines = (units @ units.T)[~np.eye(400, dtype=bool)].mean()
    found = record(site, "anisotropy", "raw")
    assert found["value"] == pytest.approx(cosines) and found["null"] == 0 and found["missing"] == ""
    assert found["resample_baseline"] == pytest.approx(cosines, abs=0.05)
    assert record(site, "mean_share", "raw")["null"] == pytest.approx(1 / 400)
    assert np.isnan(record(site, "largest_norm", "raw_over_median")["null"])


def test_the_projection_overlap_has_an_index_of_its_own():
    x = cloud(400, 0)
    same = record(measured(x, x), "projection_overlap", "centred_k3")
    other = record(
        measured(x, cloud(400, 0) @ np.linalg.qr(np.random.default_rng(3).standard_normal((D, D)))[0]),
        "projection_overlap",
        "centred_k3",
    )
    assert same["null"] == pytest.approx(3 / D)
    assert same["index"] == pytest.approx(1, abs=0.01) and abs(other["index"]) < 0.25


@pytest.mark.parametrize("variant", ["centred_of_reference_k3", "centred_of_model_k3", "raw_of_model_k3"])
def test_captured_variance_of_a_site_is_the_plain_evaluation(variant):
    x, y = cloud(400, 0), cloud(400, 0) + 0.8 * np.random.default_rng(4).standard_normal((400, D))
    parts = quarters(400, 4, 0, "task")
    this = measure_plan(400, D, PARAMS, parts, 2)
    found = record(measure_site(x, y, this, "last_token", True), "captured_variance", variant)
    measure = next(m for m in this.measures if m.name == "captured_variance")
    assert found["value"] == pytest.approx(
        evaluate(measure, next(v for v in measure.variants if v.name == variant), x, y)
    )
    assert found["null"] < found["value"] <= 1 and found["null"] < found["resample_baseline"] <= 1


def test_every_record_that_is_not_missing_has_a_value_and_a_baseline():
    site = measured(cloud(400, 0), cloud(400, 0) * 1.1 + 0.1 * cloud(400, 1))
    for row in site.records:
        if row["measure"].startswith("legacy_"):  # bare numbers, as they were
            continue
        assert row["missing"] or np.isfinite([row["value"], row["resample_baseline"]]).all(), row
        assert row["missing"] or np.isfinite(row["null"]) or row["measure"] in WITHOUT_CHANCE, row


def test_a_wide_model_has_the_values_and_chance_levels_of_its_whole_width():
    """More dimensions than prompts: the clouds are rotated into fewer dimensions, and nothing may show it."""
    n, d = 60, 300
    x = np.random.default_rng(0).standard_normal((n, d)) * np.geomspace(1, 1e-7, d)
    y = x + 0.3 * np.random.default_rng(1).standard_normal((n, d)) * np.geomspace(1, 1e-7, d)
    parts = quarters(n, 2, 0, "task")
    this = measure_plan(n, d, PARAMS, parts, 2)
    rows = {(row["measure"], row["variant"]): row for row in measure_site(x, y, this, "last_token", True).records}
    compared = 0
    for measure in this.measures:
        for variant in measure.variants:
            row = rows[measure.name, variant.name]
            if row["missing"] or measure.name == "condition_number":  # its last digits are those of a tiny value
                continue
            assert row["value"] == pytest.approx(evaluate(measure, variant, x, y), rel=1e-5, abs=1e-7), row
            compared += 1
    assert compared > 50
    centred = x - x.mean(axis=0)
    own = np.linalg.svd(centred, full_matrices=False)[2][:3].T
    expected = 3 / d * (centred**2).sum() / ((centred @ own) ** 2).sum()
    assert rows["captured_variance", "centred_of_reference_k3"]["null"] == pytest.approx(expected)
    assert rows["projection_overlap", "centred_k3"]["null"] == pytest.approx(3 / d)


SMOOTH = ("effective_rank", "participation_ratio", "cka", "rbf_cka", "rsa", "mutual_neighbours", "procrustes_distance")
"""Without bends or whole numbers: their errors are right, not only wide enough."""
SCORES = ("bases", "captured", "rows", "distances")
N = 200


def scores(n=N):
    """Centred variants of every score between two models, of k = 3 where they have a k."""
    found = [
        (measure, variant)
        for measure in measure_plan(n, D, PARAMS, quarters(n, 2, 0), 2).measures
        for variant in measure.variants
        if measure.input in SCORES and variant.centred and not variant.name.endswith("k5")
    ]
    return [pytest.param(measure, variant, id=f"{measure.name}-{variant.name}") for measure, variant in found]


@pytest.fixture(scope="module")
def against_itself():
    return measured(cloud(N, 0), cloud(N, 0).copy(), 24)


@pytest.fixture(scope="module")
def against_strangers():
    """Models that share neither directions nor prompts with the reference, but its spectrum."""
    rotations = [np.linalg.qr(np.random.default_rng(seed).standard_normal((D, D)))[0] for seed in range(8)]
    return [measured(cloud(N, seed), cloud(N, 50 + seed) @ turn, 24) for seed, turn in enumerate(rotations)]


@pytest.mark.parametrize(("measure", "variant"), scores())
def test_every_score_is_one_against_itself_and_zero_against_strangers(
    against_itself, against_strangers, measure, variant
):
    same = record(against_itself, measure.name, variant.name)
    assert same["index"] == pytest.approx(1, abs=0.02)
    others = [record(site, measure.name, variant.name)["index"] for site in against_strangers]
    assert abs(np.mean(others)) < 0.2


def test_the_index_of_captured_variance_by_hand():
    """Half A of one side in the directions of half B of the other, against those of half B of the same side."""
    x, y = cloud(N, 0), cloud(N, 0) + 0.8 * np.random.default_rng(4).standard_normal((N, D))
    parts = quarters(N, 1, 0, "task")
    halves = parts[0].reshape(2, -1)

    def leading(z, half):
        rows = z[half] - z[half].mean(axis=0)
        return rows, np.linalg.svd(rows, full_matrices=False)[2][:3].T

    def captured(own, other):
        total = 0.0
        for a, b in (halves, halves[::-1]):
            rows, mine = leading(own, a)
            total += ((rows @ leading(other, b)[1]) ** 2).sum() / ((rows @ mine) ** 2).sum() / 2
        return total

    chance = np.mean([((r := leading(x, half))[0] ** 2).sum() / ((r[0] @ r[1]) ** 2).sum() for half in halves]) * 3 / D
    ceiling = np.sqrt(captured(x, x) * captured(y, y))
    found = record(
        measure_site(x, y, measure_plan(N, D, PARAMS, parts, 1), "last_token", False),
        "captured_variance",
        "centred_of_reference_k3",
    )
    assert found["ceiling"] == pytest.approx(ceiling)
    assert found["index"] == pytest.approx((captured(x, y) - chance) / (ceiling - chance))


def test_errors_are_about_the_scatter_over_fresh_prompts():
    """Of every measure with an interval, value and index. Those that split their halves (index, predictivity) err wide."""
    turn = np.eye(D) + 0.05 * np.random.default_rng(9).standard_normal((D, D))
    sites = [measured(cloud(N, seed), cloud(N, seed) @ turn + 0.2 * cloud(N, 500 + seed), 60) for seed in range(40)]
    rows = {}
    for site in sites:
        for row in site.records:
            rows.setdefault((row["measure"], row["variant"]), []).append(row)
    compared = 0
    for name, found in rows.items():
        for value, error in (("value", "standard_error"), ("index", "index_standard_error")):
            errors, values = (np.array([row[key] for row in found]) for key in (error, value))
            if not np.isfinite(errors).all() or values.std() < 1e-9:
                continue
            ratio = np.sqrt(np.mean(errors**2)) / values.std(ddof=1)
            low, high = (0.7, 1.4) if name[0] in SMOOTH else (0.5, 2.6)
            assert low < ratio < high, (name, value, ratio)
            compared += 1
    assert compared > 40
