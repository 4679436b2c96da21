"""The figures of the probes draw their tables, and the tables hold what was probed."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

from stages.paradigms.figures import sensitivity, weights
from tests.support import paradigm_study as study

RECIPES = ("base", "sft", "rl_zero", "sft_matched")


def gathered(name, recipes=RECIPES, seeds=(0,)):
    parts = [
        study.probes_of(f"{recipe}-s{seed}", f"base-s{seed}", recipe, 4)[name].assign(recipe=recipe)
        for recipe in recipes
        for seed in seeds
    ]
    return pd.concat(parts, ignore_index=True)


def lines(axes, label):
    return [line for line in axes.lines if line.get_label() == label]


def test_the_change_of_a_sensitivity_is_paired_and_its_interval_leaves_out_what_prompts_share():
    """Every value of sft is that of the base times one factor: the ratio has no spread, whatever the levels have."""
    rows = sensitivity.table(gathered("sensitivity"), 0.95).set_index(["recipe", "measure", "layer"])
    row = rows.loc["sft", "jacobian_frobenius_norm", 2]
    factor = 1 + study.DISTANCE["sft"]
    assert_allclose(row[["change", "change_low", "change_high"]].astype(float), factor - 1, rtol=1e-9)
    assert row["low"] < row["value"] < row["high"]
    assert row["value"] == pytest.approx(factor * rows.loc["base", "jacobian_frobenius_norm", 2]["value"])
    signed, base = (rows.loc[recipe, "expansion_exponent", 1] for recipe in ("sft", "base"))
    assert signed["change"] == pytest.approx(signed["value"] - base["value"])
    assert rows.loc["base"]["change"].isna().all()


def test_the_error_of_a_mean_over_tasks_is_that_of_independent_prompts():
    values = gathered("sensitivity", ("base",))
    rows = sensitivity.table(values, 0.95).set_index(["measure", "layer"])
    of = values[(values["measure"] == "expansion_exponent") & (values["layer"] == 3)]
    errors = of.groupby("task")["value"].sem()
    row = rows.loc["expansion_exponent", 3]
    assert row["high"] - row["value"] == pytest.approx(1.959964 * np.sqrt((errors**2).sum()) / len(errors), rel=1e-6)


def test_sensitivity_draws_levels_and_changes():
    rows = sensitivity.table(gathered("sensitivity"), 0.95)
    axes = sensitivity.draw(rows).axes
    assert len(axes) == 2 * len(sensitivity.PANELS)
    wanted = rows[(rows["recipe"] == "rl_zero") & (rows["measure"] == "relative_noise_response")]
    assert_allclose(lines(axes[0], "rl_zero")[0].get_ydata(), wanted["value"])
    assert_allclose(lines(axes[4], "rl_zero")[0].get_ydata(), 100 * wanted["change"])


def test_weights_are_summed_over_tensors_and_ranks_are_over_their_null():
    rows = weights.table(gathered("weights")).set_index(["recipe", "by", "place"])
    assert "base" not in rows.index.get_level_values("recipe")
    assert_allclose(rows.loc["sft"]["relative_update_norm"], study.DISTANCE["sft"])
    assert_allclose(rows["effective_rank_over_null"], 0.5)
    assert list(rows.loc["sft", "kind"].index) == ["mlp.up_proj", "mlp.down_proj"]  # the order of the model
    assert list(rows.loc["sft", "layer"].index) == ["0", "1", "2", "3"]


def test_weights_draw_their_table():
    rows = weights.table(gathered("weights", seeds=(0, 1)))
    axes = weights.draw(rows).axes
    assert_allclose(lines(axes[0], "sft")[0].get_ydata(), [study.DISTANCE["sft"]] * 4)


def test_nothing_probed_is_said():
    assert weights.draw(weights.table(gathered("weights", ("base",)))).texts[1].get_text().startswith("No model")
    assert sensitivity.draw(sensitivity.table(gathered("sensitivity").iloc[:0], 0.95)).texts[1].get_text()
