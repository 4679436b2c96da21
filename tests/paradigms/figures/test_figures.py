"""Every figure draws what its table says, the table holds what the records say."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

from stages.paradigms.figures import (
    displacement,
    effective_rank,
    hypotheses,
    near_one,
    preservation,
    rarefaction,
    scores,
    spectra,
    training,
)
from stages.paradigms.figures.families import family_band
from stages.paradigms.figures.labels import label_points
from stages.paradigms.tables import PERTURBED_TABLES, RANDOM_KINDS
from stages.shared.figure_style import LOOKS, looks, save, sheet
from tests.support import paradigm_study as study

RECIPES = ("base", "sft", "rl_zero", "sft_matched")


def gathered(name, recipes=RECIPES, seeds=(0,), layers=4):
    parts = [
        study.records_of(f"{recipe}-s{seed}", f"base-s{seed}", recipe, seed, layers)[name].assign(
            model=f"{recipe}-s{seed}", recipe=recipe
        )
        for recipe in recipes
        for seed in seeds
    ]
    return pd.concat(parts, ignore_index=True)


def points(recipes=("sft",), seeds=(0,), layers=4):
    """Tables of perturbed models; none of no recipes."""
    parts = [
        pd.DataFrame(study.points_of(recipe, seed, layers)).assign(model=f"{recipe}-s{seed}", recipe=recipe)
        for recipe in recipes
        for seed in seeds
    ]
    return (
        pd.concat(parts, ignore_index=True)
        if parts
        else pd.DataFrame(columns=[*PERTURBED_TABLES.columns["points"], "model", "recipe"])
    )


def lines(axes, label):
    return [line for line in axes.lines if line.get_label() == label]


def paths_of(**which):
    return displacement.paths(points(**which))


@pytest.fixture(scope="module")
def records():
    return gathered("records")


@pytest.fixture(scope="module")
def distances(records):
    known = displacement.distances({f"{recipe}-s0": study.metrics_of(recipe) for recipe in RECIPES}, paths_of())
    return displacement.table(records, gathered("replicates"), known, 8, "resid_post", 0.95)


# ---------------------------------------------------------------- preservation
def test_preservation_leaves_out_references_and_missing_rows(records):
    rows = preservation.table(records, points(), 8, "resid_post")
    assert "base-s0" not in set(rows["model"])
    assert not ((rows["task"] == "logic") & (rows["layer"] == 0)).any()
    assert preservation.table(records, points(), 4, "resid_post").empty


def test_preservation_draws_index_score_chance_and_baseline(records):
    rows = preservation.table(records, points(), 8, "resid_post")
    figure = preservation.draw(rows, 8, "resid_post")
    above, below = figure.axes[0], figure.axes[3]
    wanted = rows[(rows["recipe"] == "sft") & (rows["task"] == "arithmetic")]
    assert_allclose(lines(above, "sft")[0].get_ydata(), wanted["index"])
    assert_allclose(lines(below, "sft")[0].get_ydata(), wanted["same_prompts"])
    assert_allclose(lines(below, "chance")[0].get_ydata(), wanted["chance"])
    assert_allclose(lines(below, "baseline")[0].get_ydata(), wanted["resample_baseline"])


def test_preservation_of_families_is_their_mean_and_range():
    rows = preservation.table(gathered("records", ("base", "sft"), (0, 1)), points(seeds=(0, 1)), 8, "resid_post")
    rows = rows[rows["task"] == "strings"]
    band = family_band(rows, "index", rows["model"].nunique() > 1)
    groups = rows.groupby("layer")["index"]
    for column, wanted in {"mean": groups.mean(), "low": groups.min(), "high": groups.max()}.items():
        assert_allclose(band[column], wanted)


def test_preservation_draws_no_line_across_a_layer_without_an_index(records):
    rows = preservation.table(records, points(), 8, "resid_post")
    rows = rows[(rows["task"] == "strings") & (rows["recipe"] == "sft") & (rows["layer"] != 2)]
    assert np.isnan(family_band(rows, "index", rows["model"].nunique() > 1).loc[2, "mean"])


def test_preservation_of_one_family_has_the_interval_over_prompts(records):
    rows = preservation.table(records, points(), 8, "resid_post")
    rows = rows[(rows["task"] == "strings") & (rows["recipe"] == "sft")]
    assert_allclose(family_band(rows, "index", rows["model"].nunique() > 1)["low"], rows["index_low"])


def hatched(axes):
    return [band for band in axes.collections if band.get_label() == "random updates"]


def test_preservation_draws_the_range_over_random_updates_of_a_models_size(records):
    rows = preservation.table(records, points(), 8, "resid_post")
    figure = preservation.draw(rows, 8, "resid_post")
    (band,) = hatched(figure.axes[0])  # of sft alone: no other has any
    drawn = pd.DataFrame(study.points_of("sft", 0, 4)).query("measure == 'preservation' and task == 'arithmetic'")
    drawn = drawn[drawn["kind"].isin(RANDOM_KINDS)].groupby("layer")["index"]
    assert_allclose(band.get_paths()[0].get_extents().intervaly, [drawn.min().min(), drawn.max().max()])
    assert any(text.get_text().startswith("Random updates") for text in figure.legends[0].texts)


def test_preservation_without_random_updates_does_not_speak_of_them(records):
    rows = preservation.table(records, points(()), 8, "resid_post")
    assert rows[preservation.NULLS].isna().all(axis=None)
    figure = preservation.draw(rows, 8, "resid_post")
    assert not hatched(figure.axes[0])
    assert not [text for text in figure.legends[0].texts if text.get_text().startswith("Random updates")]


# ---------------------------------------------------------------- the axis near 1
def test_the_axis_near_one_can_be_inverted_and_keeps_the_order():
    index = np.array([-0.3, 0, 0.5, 0.9, 0.99, 0.999, 1, 1.002])
    scaled = near_one._forward(index)
    assert (np.diff(scaled) > 0).all()
    assert_allclose(near_one._backward(scaled), index, atol=1e-12)
    steps = np.diff(near_one._forward(np.array([0, 0.9, 0.99])))
    assert_allclose(steps, 1, atol=0.05)  # a tenth of the distance to 1 is one step


# ---------------------------------------------------------------- effective rank
def test_effective_rank_change_is_relative_to_the_reference(records):
    rows = effective_rank.table(records, "resid_post").set_index(["model", "task", "layer"])
    assert (rows.loc["base-s0", "change"] == 0).all()
    sft, base = rows.loc[("sft-s0", "strings", 3)], rows.loc[("base-s0", "strings", 3)]
    assert sft["change"] == pytest.approx(sft["effective_rank"] / base["effective_rank"] - 1)


def test_effective_rank_writes_its_values_and_marks_what_is_missing(records):
    rows = effective_rank.table(records, "resid_post")
    figure = effective_rank.draw(rows, "resid_post")
    texts = [text.get_text() for text in figure.axes[0].texts]
    first = rows[(rows["recipe"] == "base") & (rows["task"] == "arithmetic")]["effective_rank"]
    assert texts[:4] == [f"{value:.1f}" for value in first]
    assert [text.get_text() for text in figure.axes[1].texts].count("–") == len(RECIPES)  # logic, layer 0


def test_effective_rank_of_many_layers_has_no_numbers():
    rows = effective_rank.table(gathered("records", ("base",), layers=16), "resid_post")
    assert not effective_rank.draw(rows, "resid_post").axes[0].texts


# ---------------------------------------------------------------- spectra
def test_spectra_are_shares_at_three_layers_of_few_ranks():
    tables = gathered("spectra", layers=8)
    rows = spectra.table(tables, "resid_post")
    assert dict(zip(rows["depth"], rows["layer"], strict=True)) == {"first": 0, "middle": 3, "last": 7}
    ranks = sorted(set(rows["rank"]))
    assert (ranks[0], ranks[-1]) == (1, study.WIDTH) and len(ranks) <= spectra.POINTS
    one = tables[(tables["model"] == "sft-s0") & (tables["task"] == "logic") & (tables["layer"] == 7)]
    drawn = rows[(rows["recipe"] == "sft") & (rows["task"] == "logic") & (rows["depth"] == "last")]
    assert drawn["share"].iloc[0] == pytest.approx(one["eigenvalue"].iloc[0] / one["eigenvalue"].sum())


def test_spectra_draw_the_table_and_the_noise():
    rows = spectra.table(gathered("spectra"), "resid_post")
    axes = spectra.draw(rows, "resid_post").axes[0]
    here = rows[(rows["depth"] == "first") & (rows["task"] == "arithmetic") & (rows["recipe"] == "rl_zero")]
    assert_allclose(lines(axes, "rl_zero")[0].get_ydata(), here["share"])
    assert_allclose(lines(axes, "noise")[0].get_ydata(), here["noise"])


def test_spectra_of_a_single_layer():
    rows = spectra.table(gathered("spectra", layers=1), "resid_post")
    assert set(rows["depth"]) == {"first"}
    assert len(spectra.draw(rows, "resid_post").axes) == 3


# ---------------------------------------------------------------- displacement
def test_displacement_averages_inside_each_half_sample(distances):
    row = distances.set_index("model").loc["sft-s0"]
    records, replicates = (
        study.records_of("sft-s0", "base-s0", "sft", 0, 4)[name] for name in ("records", "replicates")
    )
    assert row["index"] == pytest.approx(records["index"].mean())
    means = replicates.groupby("replicate")["value"].mean().to_numpy()
    error = ((means[::2] - means[1::2]) / 2).std(ddof=1)  # of complementary halves; m = n / 2: factor 1
    assert row["index_high"] - row["index"] == pytest.approx(1.959964 * error)


def test_displacement_leaves_out_a_layer_without_an_index(distances):
    records, replicates = gathered("records", ("base", "sft")), gathered("replicates", ("base", "sft"))
    undefined = (replicates["task"] == "strings") & (replicates["layer"] == 3) & (replicates["replicate"] == 5)
    replicates.loc[undefined, "value"] = np.nan
    known = distances[distances["recipe"] == "sft"][["model", "displacement", "kl"]]
    kept = records[(records["recipe"] == "sft") & ~((records["task"] == "strings") & (records["layer"] == 3))]
    found = displacement.table(records, replicates, known, 8, "resid_post", 0.95).iloc[0]
    assert found["index"] == pytest.approx(kept["index"].mean())
    assert found["index_low"] < found["index"] < found["index_high"]


def test_displacement_without_half_samples_has_no_interval(distances):
    records = gathered("records", ("sft",))
    found = displacement.table(records, gathered("replicates").iloc[:0], distances, 8, "resid_post", 0.95).iloc[0]
    assert found["index"] == pytest.approx(records["index"].mean()) and np.isnan(found["index_low"])


def test_displacement_leaves_out_models_without_a_distance(distances):
    assert sorted(distances["recipe"]) == ["rl_zero", "sft", "sft_matched"]


def test_displacement_draws_a_named_point_for_each_model(distances):
    figure = displacement.draw(distances, paths_of())
    for axes, column in zip(figure.axes, ("displacement", "kl"), strict=True):
        for _, row in distances.iterrows():
            assert_allclose(lines(axes, row["recipe"])[0].get_xydata(), [[row[column], row["index"]]])
        assert {text.get_text() for text in axes.texts if text.get_text()} == {
            LOOKS[recipe].label for recipe in distances["recipe"]
        }


def test_displacement_draws_the_way_to_a_model_and_random_updates_of_its_size(distances):
    left, right = displacement.draw(distances, paths_of()).axes
    (line,), (random,) = lines(left, "sft interpolation"), lines(left, "sft isotropic")
    assert_allclose(line.get_xdata(), study.DISTANCE["sft"] * np.array([0.1, 0.5, 1]))
    assert_allclose(
        line.get_ydata(), 1 - study.LOSS["sft"] * np.array([0.01, 0.25, 1]) * 0.625
    )  # mean depth of 4 layers
    assert_allclose(lines(left, "sft checkpoint")[0].get_xdata(), study.DISTANCE["sft"] * np.array([0.5, 1]))
    assert len(random.get_xdata()) == study.RANDOM_DRAWS and set(random.get_xdata()) == {study.DISTANCE["sft"]}
    assert not lines(right, "sft interpolation")


def test_a_model_from_the_hub_has_the_displacement_of_its_line(records):
    known = displacement.distances({}, paths_of())
    assert known.to_dict("list") == {
        "model": ["sft-s0"],
        "displacement": [study.DISTANCE["sft"]],
        "kl": [pytest.approx(np.nan, nan_ok=True)],
    }
    rows = displacement.table(records, gathered("replicates"), known, 8, "resid_post", 0.95)
    assert len(displacement.draw(rows, paths_of()).axes) == 1  # no panel without a number


@pytest.mark.parametrize(("index", "wanted"), [([0.9, 0.8, 0.1], -1), ([0.1, 0.8, 0.9], 1), ([0.1, 0.9, 0.8], 0.5)])
def test_spearman(index, wanted):
    assert displacement.spearman(pd.DataFrame({"index": index, "kl": [0.01, 0.5, 7]}), "kl") == pytest.approx(wanted)


def test_spearman_of_two_models_is_undefined():
    assert np.isnan(displacement.spearman(pd.DataFrame({"index": [0.9, 0.8], "kl": [0.1, 0.2]}), "kl"))


def test_labels_of_close_points_do_not_overlap():
    figure = sheet(4, "title", "caption")
    axes = figure.subplots()
    axes.set(xlim=(0, 1), ylim=(0, 1))
    figure.draw_without_rendering()
    label_points(axes, [(0.5 + 0.004 * i, 0.5 + 0.003 * i, f"model {i}", "black") for i in range(5)])
    boxes = [text.get_window_extent() for text in axes.texts if text.get_text()]
    assert len(boxes) == 5
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


# ---------------------------------------------------------------- training
def test_training_draws_curves_and_accuracies():
    curves = training.curve_table(
        [study.curve_of(recipe).assign(recipe=recipe, model=f"{recipe}-s0") for recipe in RECIPES]
    )
    accuracy = training.accuracy_table({f"{recipe}-s0": study.metrics_of(recipe) for recipe in RECIPES})
    axes = training.draw(curves, accuracy).axes
    reward = curves[(curves["recipe"] == "rl_zero") & (curves["quantity"] == "reward")]
    assert_allclose(lines(axes[2], "rl_zero")[0].get_ydata(), reward["value"])
    assert lines(axes[0], "base") and not lines(axes[1], "base")
    assert "completion tokens" not in set(curves["quantity"])
    marks = {mark.get_label(): mark.lines[0].get_xdata()[0] for mark in axes[-1].containers}
    assert marks == pytest.approx({recipe: 100 * study.ACCURACY[recipe] for recipe in RECIPES})
    assert "+13.0 [+11.2, +14.8]" in {text.get_text() for text in axes[-1].texts}


def test_a_study_without_organisms_says_so():
    empty = training.draw(training.curve_table([]), training.accuracy_table({}))
    assert any("No model of this study was trained" in text.get_text() for text in empty.texts)
    assert displacement.draw(pd.DataFrame(columns=displacement.COLUMNS), paths_of(recipes=())).texts


# ---------------------------------------------------------------- hypotheses
def test_hypotheses_draw_estimates_intervals_and_verdicts():
    rows = study.hypotheses()
    axes = hypotheses.draw(rows, 0.2, 0.1, 0.05, 0.95).axes[0]
    intervals = [
        line.get_xdata()
        for line in axes.lines
        if line.get_linestyle() == "-" and len(line.get_xdata()) == 2 and line.get_linewidth() == 2
    ]
    tested = rows.dropna(subset=["estimate"])
    assert_allclose(intervals, tested[["low", "high"]])
    texts = [text.get_text() for text in axes.texts]
    assert len(texts) == len(rows)
    assert texts[0] == "moderate\n+0.190 [+0.170, +0.210]"
    assert texts[-1].startswith("not tested")


def test_hypotheses_show_what_families_add():
    rows = study.hypotheses().assign(
        families=6.0, family_sd=0.02, cohen_dz=[9.5, *[np.nan] * 6], aggregation="last_token"
    )
    rows.loc[0, "aggregation"] = "reasoning_end"
    figure = hypotheses.draw(rows, 0.2, 0.1, 0.05, 0.95)
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert texts[0].endswith("6 families, d = 9.5") and texts[1].endswith("6 families, sd 0.020")
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert "after reasoning" in labels[0] and "after reasoning" not in labels[1]


def test_hypotheses_without_any_estimate():
    rows = study.hypotheses().iloc[-1:].drop(columns=["estimate", "low", "high", "scope"])
    assert len(hypotheses.draw(rows, 0.2, 0.1, 0.05, 0.95).axes[0].texts) == 1
    hypotheses.draw(rows.iloc[:0], 0.2, 0.1, 0.05, 0.95)


# ---------------------------------------------------------------- style
def test_looks_keep_the_order_of_paradigms_and_tell_other_models_apart():
    found = looks(["rl_shuffled", "some-7b", "base", "other-7b", "base"])
    assert list(found) == ["base", "rl_shuffled", "some-7b", "other-7b"]
    assert found["some-7b"].label == "some-7b" and found["some-7b"].colour != found["other-7b"].colour
    assert len({(look.colour, look.marker) for look in looks([f"m{i}" for i in range(30)]).values()}) == 30


def test_bytes_depend_on_the_figure_only(tmp_path, monkeypatch, records):
    rows = effective_rank.table(records, "resid_post")
    save(effective_rank.draw(rows, "resid_post"), tmp_path / "first.png")
    monkeypatch.setitem(__import__("matplotlib").rcParams, "font.size", 31)  # a reader's own settings
    save(effective_rank.draw(rows, "resid_post"), tmp_path / "second.png")
    first, second = ((tmp_path / name).read_bytes() for name in ("first.png", "second.png"))
    assert first == second
    assert b"tEXt" not in first and b"tIME" not in first


# ---------------------------------------------------------------- all scores, and the number of prompts
def test_scores_are_means_of_the_index_and_leave_out_the_reference(records):
    rows = scores.table(records, 8, "resid_post", "last_token")
    assert set(rows["recipe"]) == {"sft", "rl_zero", "sft_matched"} and set(rows["score"]) == {"preservation"}
    sft = records[(records["recipe"] == "sft") & (records["measure"] == "preservation")]
    assert rows.set_index("recipe").at["sft", "index"] == pytest.approx(sft["index"].mean())
    texts = [text.get_text() for text in scores.draw(rows, 8, "resid_post").axes[0].texts]
    assert f"{sft['index'].mean():.3f}" in texts


def test_scores_at_other_positions_have_rows_of_their_own(records):
    elsewhere = records.assign(aggregation="reasoning_end")
    rows = scores.table(pd.concat([records, elsewhere]), 8, "resid_post", "last_token")
    assert set(rows["score"]) == {"preservation", "preservation, reasoning end"}


def test_rarefaction_draws_the_mean_over_cells_against_n():
    rows = rarefaction.table(gathered("rarefaction"), "resid_post")
    figure = rarefaction.draw(rows, "resid_post")
    wanted = rows[(rows["recipe"] == "sft")].sort_values("n")
    assert_allclose(lines(figure.axes[0], "SFT")[0].get_ydata(), wanted["value"])
