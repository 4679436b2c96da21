"""Rows of token trajectories: planted turns are found, nulls are not, and every statistic is its plain double sum."""

import itertools

import numpy as np
import pytest

from stages.geometry import signature as sig
from stages.paradigms import path_records as rows_of
from stages.paradigms.params import PathParams
from stages.statistics.half_sampling import PAIRS, quarters

N, D, TOKENS = 80, 5, 14
PARAMS = PathParams(
    organisms=[], models={}, site="resid_post", depths=[1], prompts=N, directions=3, degree=3, kernel_order=4, half_samples=48, confidence=0.95, seed=0,
)  # fmt: skip
PARTS = quarters(N, 8, 0)


def laws(seed, turn=0.0, own=0.5, n=N):
    """Two models on the same prompts: a shared part and noise of each; the second turns by ``turn`` a step in one plane."""
    generator = np.random.default_rng(seed)
    scales = np.geomspace(2, 0.5, D)
    shared, x, y = generator.standard_normal((3, n, TOKENS, D)) * scales
    circle = np.zeros((TOKENS, D))
    circle[:, 0], circle[:, 1] = np.cos(np.arange(TOKENS)), np.sin(np.arange(TOKENS))
    lengths = generator.integers(TOKENS - 4, TOKENS + 1, n)
    walks = [np.cumsum(shared + own * x, axis=1), np.cumsum(shared + own * y + turn * circle, axis=1)]
    return [[walk[:length] for walk, length in zip(model, lengths, strict=True)] for model in walks]


def table(x, y, params=PARAMS, parts=PARTS):
    return {(row["measure"], row["variant"]): row for row in rows_of.measure_paths(x, y, params, parts)}


def of(found, measure):
    """The row of a measure; the deepest variant."""
    return [row for (name, _), row in found.items() if name == measure][-1]


DISTANCES = ("signature_distance", "signature_kernel_distance", "signed_area_distance")
SHIFTS = ("signature_shift", "signature_kernel_shift", "signed_area_shift")


def test_a_turn_is_found_by_every_distance_and_most_by_the_areas():
    found = table(*laws(0, turn=2.5))
    for measure in DISTANCES:
        row = of(found, measure)
        assert row["low"] > 0 and row["value"] > 4 * row["standard_error"] and row["null"] == 0, measure
    areas, ends = of(found, "signed_area_distance"), found["signature_distance", "k3_degree1"]
    assert areas["value"] > 5 * ends["value"]


def test_models_with_one_law_are_at_zero_within_the_interval():
    found = [table(*laws(seed)) for seed in range(20)]
    for measure in DISTANCES:
        rows = [of(one, measure) for one in found]
        values = np.array([row["value"] for row in rows])
        assert abs(values.mean()) < 3 * values.std(ddof=1) / np.sqrt(len(values))
        assert 2 <= (values < 0).sum() <= 18
        assert sum(row["low"] <= 0 <= row["high"] for row in rows) >= 18


def test_a_model_against_itself_is_at_zero_exactly():
    x = laws(0)[0]
    found = table(x, x)
    for measure in (*DISTANCES, *SHIFTS):
        row = of(found, measure)
        assert [row[name] for name in ("value", "standard_error", "low", "high")] == pytest.approx([0] * 4, abs=1e-12)


def test_mispaired_prompts_are_at_the_null_of_shifts_and_leave_distances_where_they_are():
    x, y = laws(0, turn=1.2)
    paired, mispaired = table(x, y), table(x, y[1:] + y[:1])
    for measure in SHIFTS:
        assert of(paired, measure)["value"] < 0.7
        assert of(mispaired, measure)["value"] == pytest.approx(of(mispaired, measure)["null"], abs=0.12)
    for measure in DISTANCES:
        a, b = of(paired, measure), of(mispaired, measure)
        assert b["value"] == pytest.approx(a["value"], abs=3 * b["standard_error"] + 3 * a["standard_error"])


def test_values_are_plain_double_sums_over_prompts():
    x, y = laws(1, turn=0.5, n=12)
    params = PARAMS.model_copy(update={"prompts": 12})
    found = table(x, y, params, quarters(12, 4, 0))
    shared = sig.shared_projection([x], 3)
    a, b = (sig.signatures(sig.project(paths, shared), 3) for paths in (x, y))
    pairs = list(itertools.permutations(range(12), 2))
    squared = np.mean([(a[i] - b[i]) @ (a[j] - b[j]) for i, j in pairs])
    dispersion = np.mean([np.sum((s[i] - s[j]) ** 2) / 2 for s in (a, b) for i, j in pairs])
    assert found["signature_distance", "k3_degree3"]["value"] == pytest.approx(squared / dispersion)
    mispaired = np.mean([np.sum((a[i] - b[j]) ** 2) for i, j in pairs])
    shift = np.mean([np.sum((a[i] - b[i]) ** 2) for i in range(12)]) / mispaired
    assert found["signature_shift", "k3_degree3"]["value"] == pytest.approx(shift)


def test_half_samples_and_baselines_are_those_of_the_paths_themselves():
    x = laws(2)[0]
    shared = sig.shared_projection([x], 3)
    x = sig.project(x, shared)
    whole = sig.signature_contrasts(x, x, 3)
    first, second = (np.concatenate([PARTS[0][a], PARTS[0][b]]) for a, b in PAIRS[:2])
    assert not set(first) & set(second)
    own = [[x[i] for i in rows] for rows in (first, second)]
    expected = sig.signature_contrasts(*own, 3)
    for found, plain in zip(rows_of.between_halves(whole, first, second), expected, strict=True):
        np.testing.assert_allclose(found, plain, atol=1e-12)
    for found, plain in zip(rows_of.subset(whole, first), sig.signature_contrasts(own[0], own[0], 3), strict=True):
        np.testing.assert_allclose(found, plain, atol=1e-12)


def test_baselines_are_nulls_up_to_what_splits_scatter():
    found = table(*laws(3, turn=1.2))
    for measure in (*DISTANCES, *SHIFTS):
        row = of(found, measure)
        assert row["resample_baseline"] == pytest.approx(row["null"], abs=row["resample_spread"]), measure
        assert row["resample_spread"] > 0


def test_areas_of_turning_paths_exceed_those_of_shuffled_steps_and_straight_paths_have_none():
    angles = np.linspace(0, 2 * np.pi, 30)
    circle = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    paths = [c * circle for c in np.linspace(1, 2, 40)]
    areas = rows_of.signed_areas(paths)
    np.testing.assert_allclose(areas[:, 0], np.pi * np.linspace(1, 2, 40) ** 2, rtol=0.02)
    np.testing.assert_allclose(rows_of.signed_areas([np.outer(np.arange(9.0), [1, 2])] * 2), 0, atol=1e-12)
    generator = np.random.default_rng(0)
    smooth = [np.column_stack([path, np.zeros((30, 3))]) + 0.01 * generator.standard_normal((30, 5)) for path in paths]
    row = of(table(smooth, smooth, parts=quarters(40, 8, 0)), "signed_area")
    assert row["low"] > 2 * row["null"]


def test_paths_that_turn_back_at_each_step_enclose_less_than_their_steps_in_random_order():
    paths = list(np.random.default_rng(0).standard_normal((N, TOKENS, D)))
    row = of(table(paths, paths), "signed_area")
    assert row["high"] < 0.8 * row["null"]


def test_scale_and_rotation_of_both_models_change_nothing():
    x, y = laws(4, turn=0.5)
    rotation = 9 * np.linalg.qr(np.random.default_rng(0).standard_normal((D, D)))[0]
    before, after = table(x, y), table(*([path @ rotation + 2 for path in model] for model in (x, y)))
    for key, row in before.items():
        assert after[key]["value"] == pytest.approx(row["value"], rel=1e-6), key


def test_prompts_that_do_not_differ_are_missing_with_a_reason():
    one = np.cumsum(np.random.default_rng(0).standard_normal((TOKENS, D)), axis=0)
    same = rows_of.measure_paths([one] * N, [one + 1] * N, PARAMS, PARTS)
    assert {row["missing"] for row in same if row["measure"] != "signed_area"} == {
        "constant by design: the paths of all prompts are alike"
    }
    assert all(np.isnan(row["value"]) for row in same if row["missing"])


def test_paths_with_common_ends_are_missing_at_degree_one_alone():
    x, y = ([np.concatenate([np.zeros((1, D)), path, np.ones((1, D))]) for path in model] for model in laws(0))
    missing = {key for key, row in table(x, y).items() if row["missing"]}
    assert missing == {("signature_distance", "k3_degree1"), ("signature_shift", "k3_degree1")}
