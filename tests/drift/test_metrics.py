"""What the study says of planted curves: a spike is found, a ramp and noise are not; shares and intervals by hand."""

import logging

import numpy as np
import pandas as pd
import pytest

from stages.drift.compared_models import ComparedModel
from stages.drift.comparisons import SIZES
from stages.drift.depth_curves import DepthCurve
from stages.drift.metrics import MEAN_W2_KEYS, SIZE_CHANGES, late_share, summarise
from stages.drift.params import BASES
from tests.support import drift_study as study

HALVES, ERROR = 15, 0.01


def tables(curves, tasks=("one", "two"), seed=0):
    """Records of ``curves``: model -> (kind, y (T,)), with independent errors of ERROR, for every task."""
    generator = np.random.default_rng(seed)
    records, deviations, profile, draws = [], [], [], []
    for model, kinds in curves.items():
        for task in tasks:
            for kind, y in kinds.items():
                noisy = np.asarray(y) + ERROR * generator.standard_normal(len(y))
                for point, value in enumerate(noisy):
                    place = {
                        "kind": kind, "model": model, "other_model": model if kind == "layers" else "base-s0", "task": task,
                        "state": "final", "other_state": "final", "point": point, "other_point": point + (kind == "layers"),
                    }  # fmt: skip
                    common = place | {"basis": "raw", "tokens": "content", "n": 64, "missing": ""}
                    records += [
                        common | {"measure": "w2", "value": value}, common | {"measure": "identity_cost", "value": value**2},
                        common | {"measure": "all_cosine", "value": -value},
                    ]  # fmt: skip
                    deviations += [
                        place | {"measure": "w2", "half": half, "value": ERROR * generator.standard_normal()}
                        for half in range(HALVES)
                    ]
            for point in range(len(kinds["layers"]) + 1):
                at = {"model": model, "state": "final", "task": task, "point": point}
                for name in SIZES:
                    profile.append(
                        at
                        | {"tokens": "content", "measure": name.removeprefix("log_"), "value": np.exp(point), "n": 64}
                    )
                    draws += [at | {"measure": name, "half": half, "value": 0.01} for half in range(HALVES)]
    named = {"records": records, "deviations": deviations, "profile": profile, "profile_deviations": draws}
    return {name: pd.DataFrame(rows) for name, rows in named.items()}


FLAT = np.full(12, 1.0)
BASE = ComparedModel("base-s0", "base-s0")


def of_base(y, seed=0):
    return summarise(tables({"base-s0": {"layers": y}}, seed=seed), [BASE], study.params(draws=99))


def test_a_planted_spike_is_found_at_its_step():
    y = FLAT.copy()
    y[5] += 0.5
    metrics, found = of_base(y)
    assert metrics["layers"]["base"]["transitions"] == 1
    (row,) = found["transitions"].query("transition != ''").to_dict("records")
    assert (row["step"], row["transition"]) == (5, "spike") and row["size"] == pytest.approx(0.5, abs=0.05)
    assert row["p"] <= 0.05


@pytest.mark.parametrize("name", ["flat", "ramp"])
def test_noise_and_a_smooth_ramp_are_no_transitions(name):
    """At the stated rate of .05, of 30 curves with noise at most 5 have any with chance .99."""
    y = FLAT if name == "flat" else np.linspace(0.5, 2, 12)
    found = [of_base(y, seed)[0]["layers"]["base"]["transitions"] for seed in range(30)]
    assert sum(count > 0 for count in found) <= 5


def test_the_late_share_is_a_third_where_all_depths_move_alike_and_its_error_is_that_of_a_ratio():
    generator = np.random.default_rng(0)
    deviations = 0.02 * generator.standard_normal((400, 9))
    found = late_share(DepthCurve(np.full(9, 2.0), deviations), 0.95)
    assert found.value == pytest.approx(1 / 3)
    drawn = 2.0 + 0.02 * generator.standard_normal((4000, 9))
    shares = drawn[:, 6:].mean(axis=1) / (
        drawn[:, :3].mean(axis=1) + drawn[:, 3:6].mean(axis=1) + drawn[:, 6:].mean(axis=1)
    )
    assert found.standard_error == pytest.approx(shares.std(), rel=0.1)
    assert late_share(DepthCurve(np.array([1, 1, 2, 2, 5, 5.0]), np.ones((3, 6))), 0.95).value == pytest.approx(5 / 8)


def test_a_size_that_all_points_share_cancels_in_the_late_share():
    y = np.linspace(1, 3, 9)
    scaled = late_share(DepthCurve(y, np.outer([0.1, -0.2, 0.05], y)), 0.95)
    assert scaled.standard_error == pytest.approx(0, abs=1e-12)


def test_models_are_read_against_their_reference():
    sft = {"layers": FLAT, "models": np.linspace(0.1, 0.9, 12)}
    both = tables({"base-s0": {"layers": FLAT}, "sft-s0": sft})
    metrics, found = summarise(both, [BASE, ComparedModel("sft-s0", "base-s0")], study.params())
    assert set(metrics["layers"]) == {"base", "sft"} and set(metrics["models"]) == {"sft"}
    own = metrics["models"]["sft"]
    assert own["w2_raw_mean"]["low"] < 0.5 < own["w2_raw_mean"]["high"]
    assert own["late_share"]["low"] > 1 / 3
    labels = found["course"].query("line == 'sft' and kind == 'models'")["label"]
    assert set(labels) == {"increasing"}
    spreading = found["course"].query("quantity == 'log_total_variance_change'")
    assert set(spreading["label"]) == {"spreading"} and spreading["value"].to_numpy() == pytest.approx(
        np.full(2, 26 / 3), rel=0.1
    )


def test_ranks_of_transport_and_of_a_monotone_twin_agree():
    metrics, _ = of_base(np.linspace(0.5, 2, 12))
    assert metrics["rank_correlation_with_w2"]["base"] == {
        "identity_cost": pytest.approx(1),
        "all_cosine": pytest.approx(-1),
    }


def test_several_families_give_intervals_over_families():
    curves = {f"base-s{seed}": {"layers": FLAT + shift} for seed, shift in enumerate((-0.3, 0.0, 0.3))}
    subjects = [ComparedModel(model, model) for model in curves]
    metrics, found = summarise(tables(curves), subjects, study.params())
    assert set(metrics["layers"]) == {"base"}
    early = found["course"].query("quantity == 'early'").iloc[0]
    assert early["standard_error"] == pytest.approx(0.3 / np.sqrt(3), rel=0.1)


def test_too_few_layers_are_said_and_stop_nothing(caplog):
    with caplog.at_level(logging.WARNING):
        metrics, found = of_base(FLAT[:3])
    assert "base has 3 points of layers: too few" in caplog.text
    assert metrics["layers"] == {} and found["transitions"].empty and found["course"].empty


def test_every_basis_and_every_size_has_a_key():
    assert {basis: f"w2_{basis}_mean" for basis in BASES} == MEAN_W2_KEYS
    assert {size: f"{size}_change" for size in SIZES} == SIZE_CHANGES
