"""Curves over depth and their errors: what is taken of the tables, and how tasks and families are brought together."""

import numpy as np
import pandas as pd
import pytest

from stages.drift.compared_models import ComparedModel, by_recipe
from stages.drift.depth_curves import DepthCurve, curve_rows, depth_curve, size_curve
from stages.shared.tables import TableError

POINTS, HALVES, WRONG = 7, 15, 99.0


def place(model, task, point, other, kind="layers", state="final"):
    return {"model": model, "other_model": model, "state": state, "other_state": state, "task": task, "kind": kind,
            "point": point, "other_point": other}  # fmt: skip


def tables(values, draws):
    """Of ``values`` (model, task) -> (T,) and ``draws`` (model, task) -> (HALVES, T); beside them what must not be read."""
    records, deviations = [], []
    for (model, task), y in values.items():
        for point, value in enumerate(y):
            own = place(model, task, point, point + 1)
            right = own | {"basis": "raw", "tokens": "content", "measure": "w2", "value": value}
            records += [
                right,
                right | {"basis": "unit", "value": WRONG},
                right | {"tokens": "with_sinks", "value": WRONG},
                right | {"measure": "identity_cost", "value": WRONG},
                right | {"state": "untrained", "other_state": "untrained", "value": WRONG},
                right | {"other_point": point + 2, "value": WRONG},
                right | {"kind": "rotated", "other_point": point, "value": WRONG},
            ]
            for half, draw in enumerate(draws[model, task][:, point]):
                deviations.append(own | {"measure": "w2", "half": half, "value": draw})
                deviations.append(own | {"measure": "bures_w2", "half": half, "value": WRONG})
    return {"records": pd.DataFrame(records).sample(frac=1, random_state=0), "deviations": pd.DataFrame(deviations)}


def noise(seed, size=(HALVES, POINTS)):
    return np.random.default_rng(seed).standard_normal(size)


Y = {("base-s0", "one"): np.arange(1.0, 8.0), ("base-s0", "two"): 3 * np.arange(1.0, 8.0)}
DRAWS = {key: noise(number) for number, key in enumerate(Y)}


def test_a_curve_is_the_mean_over_tasks_of_neighbours_in_its_own_basis_tokens_state_and_measure():
    found = depth_curve(tables(Y, DRAWS), ["base-s0"], "layers", "w2", "raw")
    np.testing.assert_allclose(found.y, 2 * np.arange(1.0, 8.0))


def test_tasks_are_independent_and_so_their_variances_add_up():
    """Var of a mean of two: (v1 + v2) / 4, of the contrast of two points as of a point."""
    found = depth_curve(tables(Y, DRAWS), ["base-s0"], "layers", "w2", "raw")
    one, two = (DRAWS[key] for key in Y)
    np.testing.assert_allclose(
        found.standard_errors, np.sqrt(((one**2).mean(axis=0) + (two**2).mean(axis=0)) / 4), rtol=1e-12
    )
    covariance = (one.T @ one + two.T @ two) / HALVES / 4
    np.testing.assert_allclose(found.deviations.T @ found.deviations / len(found.deviations), covariance, atol=1e-12)


def test_errors_of_a_mean_over_independent_tasks_are_those_of_repeated_draws():
    generator = np.random.default_rng(7)
    scales = np.array([1.0, 3.0])
    means = (scales[:, None] * generator.standard_normal((2, 20_000))).mean(axis=0)
    draws = {key: scale * generator.standard_normal((2000, 1)) for key, scale in zip(Y, scales, strict=True)}
    found = depth_curve(tables({key: np.ones(1) for key in Y}, draws), ["base-s0"], "layers", "w2", "raw")
    assert found.standard_errors[0] == pytest.approx(means.std(), rel=0.05)


def test_several_families_vary_among_each_other_whatever_their_prompts_do():
    values = {(f"base-s{seed}", "one"): np.arange(1.0, 8.0) + shift for seed, shift in enumerate((-1.0, 0.0, 1.0))}
    found = depth_curve(
        tables(values, dict.fromkeys(values, noise(0))), [model for model, _ in values], "layers", "w2", "raw"
    )
    np.testing.assert_allclose(found.y, np.arange(1.0, 8.0))
    np.testing.assert_allclose(found.standard_errors, 1 / np.sqrt(3))  # sd 1 of three, the same at all points
    np.testing.assert_allclose(np.diff(found.deviations, axis=1), 0, atol=1e-12)


def test_a_size_is_the_mean_of_logarithms_over_tasks():
    """exp of it is the geometric mean."""
    profile, draws = [], []
    for task, factor in (("one", 1.0), ("two", 9.0)):
        for point in range(POINTS):
            at = {"model": "base-s0", "state": "final", "task": task, "point": point}
            own = at | {"measure": "total_variance", "tokens": "content", "value": factor * 2.0**point}
            profile += [own, own | {"tokens": "with_sinks", "value": WRONG}, own | {"measure": "effective_rank"}]
            draws += [at | {"measure": "log_total_variance", "half": half, "value": 0.1} for half in range(HALVES)]
    found = {"profile": pd.DataFrame(profile), "profile_deviations": pd.DataFrame(draws)}
    y, deviations = size_curve(found, ["base-s0"], "log_total_variance")
    np.testing.assert_allclose(np.exp(y), 3 * 2.0 ** np.arange(POINTS))
    np.testing.assert_allclose(np.sqrt((deviations**2).mean(axis=0)), 0.1 / np.sqrt(2))


def test_rows_of_models_are_kept_at_their_own_point():
    rows = pd.DataFrame([place("sft-s0", "one", point, point, "models") for point in range(3)])
    assert len(curve_rows(rows, "models")) == 3 and curve_rows(rows, "layers").empty


def test_standard_errors_are_the_root_mean_square_of_deviations():
    found = DepthCurve(np.zeros(2), np.array([[3.0, 0], [-4, 1]]))
    np.testing.assert_allclose(found.standard_errors, [np.sqrt(12.5), np.sqrt(0.5)])


def test_a_model_without_rows_is_named_with_the_fix():
    with pytest.raises(TableError, match="no distances of sft-s0: rebuild them with `dvc repro drift-measure`"):
        depth_curve(tables(Y, DRAWS), ["sft-s0"], "layers", "w2", "raw")


def test_a_recipe_is_one_line_in_all_families_and_other_models_stand_alone():
    subjects = [ComparedModel(f"{name}-s{seed}", f"base-s{seed}") for seed in (0, 1) for name in ("base", "sft")]
    found = by_recipe([*subjects, ComparedModel("gpt2", "gpt2")])
    assert {line: [one.model for one in members] for line, members in found.items()} == {
        "base": ["base-s0", "base-s1"], "sft": ["sft-s0", "sft-s1"], "gpt2": ["gpt2"],
    }  # fmt: skip
