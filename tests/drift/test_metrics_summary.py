"""What the summary takes of the tables: whose rows, over which tasks and families, with which quantiles."""

import logging

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr, t

from stages.drift.compared_models import ComparedModel
from stages.drift.comparisons import SIZES
from stages.drift.depth_curves import DepthCurve
from stages.drift.metrics import late_share, mean_over_depth, summarise
from tests.support import drift_study as study

HALVES, STEPS = 15, 11
BASE, SFT = ComparedModel("base-s0", "base-s0"), ComparedModel("sft-s0", "base-s0")


def at(model, task, point, other, kind, reference="base-s0"):
    return {"kind": kind, "model": model, "other_model": model if kind == "layers" else reference, "task": task,
            "state": "final", "other_state": "final", "point": point, "other_point": other}  # fmt: skip


def tables(layers, models=(), error=0.01, cheap=None, seed=0, basis="raw"):
    """``layers``, ``models``: (model, task) -> w2 of neighbours (T,), of points (T + 1,); far pairs sum up the steps.

    ``cheap`` makes identity_cost of w2 and of the task.
    """
    generator = np.random.default_rng(seed)
    cheap = cheap or (lambda w2, task: w2**2)
    records, deviations, profile, draws = [], [], [], []

    def add(place, value):
        common = place | {"basis": basis, "tokens": "content", "n": 64, "missing": ""}
        for measure, own in (("w2", value), ("identity_cost", cheap(value, place["task"])), ("all_cosine", -value)):
            records.append(common | {"measure": measure, "value": own})

    def add_draws(place):
        for half in range(HALVES):
            deviations.append(place | {"measure": "w2", "half": half, "value": error * generator.standard_normal()})

    for (model, task), y in layers.items():
        path = np.concatenate([[0], np.cumsum(y)])
        for i in range(len(path)):
            for j in range(i + 1, len(path)):
                add(at(model, task, i, j, "layers"), path[j] - path[i])
                if j == i + 1:
                    add_draws(at(model, task, i, j, "layers"))
            here = {"model": model, "state": "final", "task": task, "point": i}
            for name in SIZES:
                measure = name.removeprefix("log_")
                profile.append(here | {"tokens": "content", "measure": measure, "value": np.exp(-i), "n": 64})
                draws += [here | {"measure": name, "half": half, "value": 0.01} for half in range(HALVES)]
    for (model, task), y in dict(models).items():
        for point, value in enumerate(y):
            add(at(model, task, point, point, "models"), value)
            add_draws(at(model, task, point, point, "models"))
    named = {"records": records, "deviations": deviations, "profile": profile, "profile_deviations": draws}
    return {name: pd.DataFrame(rows) for name, rows in named.items()}


def noisy(seed, y, scale=0.01):
    return np.asarray(y) + scale * np.random.default_rng(seed).standard_normal(len(y))


FLAT = np.ones(STEPS)


@pytest.mark.parametrize("confidence", [0.9, 0.95])
def test_intervals_are_students_of_as_many_degrees_as_there_are_halves(confidence):
    deviations = np.random.default_rng(0).standard_normal((HALVES, 9))
    found = mean_over_depth(DepthCurve(np.arange(9.0), deviations), confidence)
    error = np.sqrt((deviations.mean(axis=1) ** 2).mean())
    reach = t.ppf(0.5 + confidence / 2, HALVES) * error
    assert found == pytest.approx((4, error, 4 - reach, 4 + reach))
    share = late_share(DepthCurve(1 + np.arange(9.0), deviations), confidence)
    assert share.high - share.value == pytest.approx(t.ppf(0.5 + confidence / 2, HALVES) * share.standard_error)
    assert share.value - share.low == pytest.approx(share.high - share.value)


def test_intervals_of_a_late_share_cover_it_as_often_as_they_say():
    """Of 600 curves with independent errors, at 90 %: between 86 and 94 %."""
    generator = np.random.default_rng(3)
    truth, error = np.linspace(1, 2, 9), 0.05
    early, middle, late = (part.mean() for part in np.array_split(truth, 3))
    expected, covered = late / (early + middle + late), 0
    for _ in range(600):
        y, deviations = (truth + error * generator.standard_normal(9), error * generator.standard_normal((HALVES, 9)))
        found = late_share(DepthCurve(y, deviations), 0.9)
        covered += found.low <= expected <= found.high
    assert 0.86 < covered / 600 < 0.94


def test_late_movers_have_a_share_above_a_third_and_even_ones_not_resolved():
    late = noisy(1, np.where(np.arange(STEPS + 1) > 7, 0.9, 0.3))
    even = noisy(2, np.full(STEPS + 1, 0.5))
    for y, above in ((late, True), (even, False)):
        found = tables({("base-s0", "one"): FLAT, ("sft-s0", "one"): FLAT}, {("sft-s0", "one"): y})
        share = summarise(found, [BASE, SFT], study.params())[0]["models"]["sft"]["late_share"]
        assert (share["low"] > 1 / 3) == above
        assert share["low"] < share["value"] < share["high"]


def test_a_jump_of_the_level_is_a_shift_and_a_slow_rise_of_the_same_height_is_none():
    jump = noisy(1, np.where(np.arange(STEPS) >= 6, 2.0, 1.0))
    rise = noisy(2, 1 + 1 / (1 + np.exp(-(np.arange(STEPS) - 5) / 2)))
    found = []
    for y in (jump, rise):
        _, made = summarise(tables({("base-s0", "one"): y}), [BASE], study.params(draws=200))
        found.append(made["transitions"].query("transition != ''"))
    assert found[0]["step"].tolist() == [6] and found[0]["transition"].tolist() == ["shift"]
    assert found[0]["size"].item() == pytest.approx(1, abs=0.1)
    assert found[1].empty


def test_every_step_of_every_curve_has_a_row_with_its_value_error_and_segment():
    y = noisy(0, FLAT)
    _, made = summarise(tables({("base-s0", "one"): y}), [BASE], study.params())
    rows = made["transitions"]
    assert rows["step"].tolist() == list(range(STEPS)) and set(rows["kind"]) == {"layers"}
    np.testing.assert_allclose(rows["value"], y, rtol=1e-9)
    assert ((rows["standard_error"] > 0.004) & (rows["standard_error"] < 0.02)).all()
    assert (rows["segment"].diff().dropna() >= 0).all() and rows["level"].notna().all()


def test_correlations_with_cheap_distances_are_means_over_tasks_of_the_references_own_pairs():
    """One task in which they agree, one in which they are opposite; a sibling whose rows are not asked."""
    cheap = {"one": lambda w2: w2**3, "two": lambda w2: -w2, "three": np.sin}
    rises = {("base-s0", task): noisy(number, np.linspace(0.5, 2, STEPS)) for number, task in enumerate(cheap)}
    sibling = {("sft-s0", task): FLAT[::-1] + np.arange(STEPS) % 3 for task in cheap}
    found = tables(rises | sibling, {("sft-s0", task): np.ones(STEPS + 1) for task in cheap},
                   cheap=lambda w2, task: cheap[task](w2))  # fmt: skip
    metrics, _ = summarise(found, [BASE, SFT], study.params())
    path = np.concatenate([[0], np.cumsum(rises["base-s0", "three"])])
    far = (path[None] - path[:, None])[np.triu_indices(len(path), 1)]
    expected = (1 - 1 + spearmanr(far, np.sin(far)).statistic) / 3
    assert metrics["rank_correlation_with_w2"] == {
        "base": {"identity_cost": pytest.approx(expected), "all_cosine": pytest.approx(-1)}
    }


def test_several_families_of_siblings_vary_over_families():
    shifts = (-0.1, 0.0, 0.1, 0.2)
    subjects, layers, models = [], {}, {}
    for seed, shift in enumerate(shifts):
        subjects += [ComparedModel(f"base-s{seed}", f"base-s{seed}"), ComparedModel(f"sft-s{seed}", f"base-s{seed}")]
        layers |= {(f"{name}-s{seed}", "one"): FLAT for name in ("base", "sft")}
        models[f"sft-s{seed}", "one"] = np.full(STEPS + 1, 1 + shift)
    metrics, made = summarise(tables(layers, models, error=5.0), subjects, study.params())
    assert set(metrics["models"]) == {"sft"} and set(metrics["layers"]) == {"base", "sft"}
    found = metrics["models"]["sft"]["w2_raw_mean"]
    assert found["value"] == pytest.approx(1.05)
    error = np.std(shifts, ddof=1) / 2
    course = made["course"].query("line == 'sft' and kind == 'models' and quantity == 'middle'").iloc[0]
    assert course["standard_error"] == pytest.approx(error, rel=1e-6)  # and not the prompts' error of 5
    assert found["high"] - found["value"] == pytest.approx(t.ppf(0.975, 3) * error, rel=0.01)
    share = metrics["models"]["sft"]["late_share"]
    assert share["low"] == pytest.approx(1 / 3) and share["high"] == pytest.approx(1 / 3)


def test_six_steps_have_a_course_but_no_transitions_and_seven_have_both():
    six, seven = (tables({("base-s0", "one"): noisy(0, FLAT[:steps])}) for steps in (6, 7))
    metrics, made = summarise(six, [BASE], study.params())
    assert set(metrics["layers"]["base"]) == {"w2_raw_mean", "course"}
    assert made["transitions"].empty and "step" in made["transitions"].columns
    metrics, made = summarise(seven, [BASE], study.params())
    assert "transitions" in metrics["layers"]["base"] and len(made["transitions"]) == 7


def test_five_layers_are_too_few_where_six_points_of_a_sibling_are_enough(caplog):
    found = tables({("base-s0", "one"): FLAT[:5], ("sft-s0", "one"): FLAT[:5]}, {("sft-s0", "one"): noisy(1, FLAT[:6])})
    with caplog.at_level(logging.WARNING):
        metrics, made = summarise(found, [BASE, SFT], study.params())
    assert "base has 5 points of layers: too few" in caplog.text and "points of models" not in caplog.text
    assert metrics["layers"] == {} and set(metrics["models"]) == {"sft"}
    assert set(made["course"]["kind"]) == {"models"}


def test_clouds_that_shrink_over_depth_are_compressed():
    _, made = summarise(tables({("base-s0", "one"): FLAT}), [BASE], study.params())
    rows = made["course"][made["course"]["quantity"].isin([f"{name}_change" for name in SIZES])]
    assert len(rows) == 2 and set(rows["label"]) == {"compression"}
    np.testing.assert_allclose(rows["value"], -8)  # thirds of 12 points: a mean of 9.5 and one of 1.5


def test_the_name_of_a_number_says_its_basis():
    metrics, _ = summarise(tables({("base-s0", "one"): FLAT}, basis="unit"), [BASE], study.params(basis="unit"))
    assert metrics["layers"]["base"]["w2_unit_mean"] == pytest.approx(1)
