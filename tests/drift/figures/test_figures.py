"""The figures of the drift study: planted steps are in their tables, and what is drawn is what the tables hold."""

import numpy as np
import pandas as pd
import pytest
import yaml
from numpy.testing import assert_allclose
from scipy.stats import t

from stages.drift import measure as drift
from stages.drift.compared_models import compared_models
from stages.drift.depth_curves import curve_rows
from stages.drift.figures import depth_curves, pairs, profiles, transitions
from stages.drift.figures.inputs import (
    ALONE,
    curve_table,
    depth_names,
    headline,
    mean_by_depth,
    name_depths,
    read_inputs,
)
from stages.drift.params import Drift, load_scope
from stages.drift.sample_files import FINAL, SampleHeader, write_samples
from stages.shared.figure_style import save, sheet
from stages.shared.params import load
from tests.support import drift_study as study

FIGURES = {
    "curve": (depth_curves.layers_table, depth_curves.draw_layers),
    "models": (depth_curves.models_table, depth_curves.draw_models),
    "layers": (pairs.layers_table, pairs.draw_layers),
    "checkpoints": (pairs.checkpoints_table, pairs.draw_checkpoints),
    "distances": (pairs.distances_table, pairs.draw_distances),
    "profile": (profiles.profile_table, profiles.draw_profile),
    "norms": (profiles.norms_table, profiles.draw_norms),
    "bases": (transitions.bases_table, transitions.draw_bases),
    "transitions": (lambda read: read.transitions, transitions.draw_transitions),
}
SPIKE = 5
SINK = 40.0
DEEP, SHALLOW, MANY = "some-language-model-7b", "another-one-1b", 7
DEEP_STEPS = np.tile([0.5, 0.4, 0.6], 4)


def gathered(root):
    """What the figures read, after the stage drift has measured the samples under ``root``."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.setenv("JOBS", "1")
        drift.main()
        params = load("drift", Drift)
        return read_inputs(
            root / "data/drift/records", root / "plots/drift", compared_models(params, load_scope()), params
        )


def rewrite(root, model, stacks, states=(FINAL,)):
    """The samples of ``model`` at ``states``, at each of which it is ``stacks`` (points, rows, d) of a seed."""
    shown = {task: study.rows() for task in study.TASKS}
    values = {task: stacks(number) for number, task in enumerate(study.TASKS)}
    path = root / "data/drift/samples" / f"{model}.h5"
    write_samples(
        path,
        SampleHeader(model, "float32", {"numpy": "2"}),
        shown,
        iter((study.state(state, 10 * i), values) for i, state in enumerate(states, 1)),
    )


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """A base and its sibling, with a checkpoint and an untrained state each."""
    root = tmp_path_factory.mktemp("pair")
    study.project(root)
    return gathered(root)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """A base without sibling, checkpoint and untrained state."""
    root = tmp_path_factory.mktemp("alone")
    study.project(root, organisms=["base"])
    study.write(root / "data/drift/samples", "base-s0", states=False)
    return gathered(root)


@pytest.fixture(scope="module")
def spiked(tmp_path_factory):
    """A step that is ten times the others, and tokens at position 0 that are SINK times as long."""
    root = tmp_path_factory.mktemp("spiked")
    study.project(root, organisms=["base"])
    steps = np.tile([0.30, 0.32, 0.29, 0.31], 4)
    steps[SPIKE] = 3.0
    rewrite(root, "base-s0", lambda seed: study.values(seed, steps, sink=SINK))
    return gathered(root)


@pytest.fixture(scope="module")
def uneven(tmp_path_factory):
    """Every token takes steps of its own besides, so that errors over prompts are not 0."""
    root = tmp_path_factory.mktemp("uneven")
    study.project(root, organisms=["base"])

    def stacks(seed):
        shifted = study.values(seed)
        return shifted + 0.5 * np.random.default_rng(seed).standard_normal(shifted.shape)

    rewrite(root, "base-s0", stacks)
    return gathered(root)


@pytest.fixture(scope="module")
def still(tmp_path_factory):
    """A base whose checkpoint is its end."""
    root = tmp_path_factory.mktemp("still")
    study.project(root, organisms=["base"])
    rewrite(root, "base-s0", study.values, states=("step-10", FINAL))
    return gathered(root)


@pytest.fixture(scope="module")
def crowd(tmp_path_factory):
    """Hub models of long names, two of them without reference and not as deep as each other."""
    root = tmp_path_factory.mktemp("crowd")
    study.project(root)
    models = {DEEP: DEEP, SHALLOW: SHALLOW} | {f"{DEEP}-variant-{i}": DEEP for i in range(MANY)}
    for i, model in enumerate(models):
        rewrite(root, model, lambda seed, i=i: study.values(seed, DEEP_STEPS, moved=0.1 * i), states=("step-10", FINAL))
    rewrite(root, SHALLOW, study.values)
    content = yaml.safe_load((root / "params.yaml").read_text())
    content["drift"]["organisms"] = []
    content["study"] |= {"seeds": [], "models": models}
    (root / "params.yaml").write_text(yaml.safe_dump(content))
    return gathered(root)


@pytest.fixture(params=["pair", "alone", "spiked", "uneven", "still", "crowd"])
def a_study(request):
    return request.getfixturevalue(request.param)


def words(figure):
    """All that is written on a figure."""
    figure.canvas.draw()
    return "\n".join(text.get_text() for text in figure.findobj(lambda artist: hasattr(artist, "get_text")))


def caption(figure):
    return " ".join(figure.texts[1].get_text().split())


def drawn(name, read):
    table, draw = FIGURES[name]
    return draw(table(read), read)


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_is_small_twice_the_same_and_cuts_nothing_off(name, a_study, tmp_path):
    for copy in ("first", "second"):
        figure = drawn(name, a_study)
        save(figure, tmp_path / f"{copy}.png")
    first = (tmp_path / "first.png").read_bytes()
    assert len(first) < 150_000 and first == (tmp_path / "second.png").read_bytes()
    box, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
    assert min(box.x0, box.y0, width - box.x1, height - box.y1) > -0.01


@pytest.mark.parametrize(("name", "reason"), [("models", ALONE), ("checkpoints", pairs.NO_CHECKPOINTS)])
def test_a_figure_without_anything_to_show_says_why(name, reason, alone):
    table, draw = FIGURES[name]
    assert table(alone).empty and len(table(alone).columns)
    assert caption(draw(table(alone), alone)) == reason


def test_points_are_the_embedding_the_layers_and_the_final_norm():
    assert depth_names(4) == ["emb", "0", "1", "norm"]
    axes = sheet(2, "", "").subplots()
    name_depths(axes.xaxis, 4, steps=True)
    assert [label.get_text() for label in axes.get_xticklabels()] == ["emb→0", "0→1", "1→norm"]
    name_depths(axes.xaxis, 40)
    assert len(axes.get_xticks()) <= 12


# curve and models


def test_the_curve_stands_between_its_bounds_and_beside_what_it_is_compared_with(pair):
    rows = depth_curves.layers_table(pair)
    levels = set(rows["series"]) - {"w2"}
    assert levels == set(depth_curves.LEVELS)
    assert set(rows.loc[rows["series"].isin(levels), "line"]) == {"base"}  # of siblings the curve alone
    base = rows[rows["line"] == "base"].set_index(["series", "point"])["value"]
    assert len(base["w2"]) == len(base["rotated"]) == len(base["legacy_rotated"]) == study.POINTS - 1
    assert_allclose(base["untrained"], 4 * study.STEPS, rtol=1e-3)
    assert (base["rotated"] > 2 * base["w2"]).all()


def test_levels_between_points_are_the_mean_of_both(pair):
    records = pair.records
    chosen = (records["kind"] == "noisy") & (records["line"] == "base") & (records["measure"] == "w2")
    at = records[chosen].groupby("point")["value"].mean().to_numpy()
    rows = depth_curves.layers_table(pair)
    assert_allclose(rows.loc[rows["series"] == "noisy", "value"], (at[1:] + at[:-1]) / 2)


def test_an_untrained_state_that_was_not_sampled_has_neither_row_nor_label(alone):
    assert "untrained" not in set(depth_curves.layers_table(alone)["series"])
    assert "untrained" not in words(drawn("curve", alone))


def test_a_rotation_that_would_flatten_the_curves_is_written(pair):
    rows = depth_curves.layers_table(pair)
    rotated = rows.loc[rows["series"] == "rotated", "value"]
    figure = depth_curves.draw_layers(rows, pair)
    assert f"{rotated.min():.2g} to {rotated.max():.2g}, above the axis" in words(figure)
    assert figure.axes[1].get_ylim()[1] < rotated.min()


@pytest.mark.parametrize("name", ["curve", "models", "layers", "checkpoints", "transitions"])
def test_captions_state_the_sample(name, pair):
    said = caption(drawn(name, pair)).lower()
    assert f"{study.PROMPTS * study.PER_PROMPT} content tokens a task, {len(study.TASKS)} tasks" in said


def test_bands_are_students_intervals_of_the_means_over_tasks(uneven):
    rows = curve_table(uneven, ["base"], "layers")
    records = curve_rows(headline(uneven, "layers"), "layers")
    errors = records.pivot(index="task", columns="point", values="standard_error")
    of_mean = np.sqrt((errors**2).sum()) / len(errors)  # tasks are independent
    assert (of_mean > 0).all()
    halves = uneven.deviations["half"].nunique() * len(errors)
    reach = t.ppf(0.5 + uneven.params.confidence / 2, halves) * of_mean
    assert_allclose(rows["high"] - rows["value"], reach)
    assert_allclose(rows["value"] - rows["low"], reach)


def test_models_are_on_a_logarithmic_axis_and_say_their_late_share(pair):
    figure = drawn("models", pair)
    assert figure.axes[0].get_yscale() == "log"
    share = pair.course.query("line == 'sft' and kind == 'models' and quantity == 'late_share'").iloc[0]
    assert f"late share {share['value']:.3f} [{share['low']:.3f}, {share['high']:.3f}]" in words(figure)
    relative = figure.axes[1].lines[0].get_ydata()
    assert_allclose(np.mean(relative), 1)


# pairs


def test_distances_between_layers_add_up_along_a_straight_course(pair):
    base = pairs.layers_table(pair).query("line == 'base'").set_index(["point", "other_point"])["value"]
    assert len(base) == study.POINTS * (study.POINTS - 1) // 2
    assert base[0, study.POINTS - 1] == pytest.approx(study.STEPS.sum(), rel=1e-3)


def test_the_base_is_drawn_as_it_is_and_its_sibling_as_a_change(pair):
    figure = drawn("layers", pair)
    base, sibling = (axes.images[0] for axes in figure.axes if axes.images)
    values = base.get_array()
    assert_allclose(values, values.T)
    assert (np.diag(values) == 0).all() and base.norm.vmin == 0
    assert sibling.norm.vmin == -sibling.norm.vmax


def test_checkpoints_stand_in_the_order_of_training(pair):
    rows = pairs.checkpoints_table(pair)
    assert set(zip(rows["other_state"], rows["state"], strict=True)) == {("step-10", FINAL)}
    assert "10→end" in words(drawn("checkpoints", pair))


def test_the_titles_of_simple_distances_hold_spearmans_correlation(pair):
    text = words(drawn("distances", pair))
    assert "√ identity cost: ρ = 1.000" in text
    assert text.count("ρ = ") == len(pairs.SIMPLE_DISTANCES)


def test_checkpoints_between_which_nothing_moved_are_said_so(still):
    rows = pairs.checkpoints_table(still)
    assert (rows["value"] == 0).all()
    assert caption(pairs.draw_checkpoints(rows, still)) == pairs.NO_MOVEMENT


def test_a_shallower_model_has_no_cells_beyond_its_final_norm(crowd):
    figure = drawn("layers", crowd)
    shapes = {axes.get_title().split("\n")[0]: axes.images[0].get_array().shape for axes in figure.axes if axes.images}
    assert shapes[SHALLOW] == (study.POINTS, study.POINTS) and shapes[DEEP] == (len(DEEP_STEPS) + 1,) * 2
    assert "final norm" in caption(drawn("curve", crowd))


def test_lines_that_find_no_room_are_named(crowd):
    shown = pairs.layers_table(crowd)["line"].unique()
    assert len(shown) == pairs.MOST_PANELS
    for line in set(crowd.recipes) - set(shown):
        assert line in "".join(drawn("layers", crowd).texts[1].get_text().split())


def test_titles_of_neighbouring_panels_do_not_meet(crowd):
    figure = drawn("checkpoints", crowd)
    figure.canvas.draw()
    boxes = [axes.title.get_window_extent() for axes in figure.axes if axes.get_title()]
    assert all(one.x1 < other.x0 for one, other in zip(boxes, boxes[1:], strict=False))


# clouds


def test_a_sink_lifts_the_largest_norm_of_the_clouds_that_hold_it(spiked):
    rows = profiles.norms_table(spiked).set_index(["tokens", "measure", "point"])["value"].sort_index()
    ratio = rows["with_sinks", "norm_maximum"] / rows["content", "norm_maximum"]
    assert (ratio > SINK / 3).all()
    content, with_sinks = drawn("norms", spiked).axes
    assert content.get_yscale() == with_sinks.get_yscale() == "log"
    largest = [max(line.get_ydata().max() for line in axes.lines) for axes in (content, with_sinks)]
    assert_allclose(largest, [rows[name, "norm_maximum"].max() for name in ("content", "with_sinks")])


def test_profiles_hold_every_measure_at_every_point(pair):
    rows = profiles.profile_table(pair)
    counts = rows.groupby(["line", "measure"]).size()
    assert set(counts.index.get_level_values("measure")) == set(profiles.PROFILE_MEASURES) and set(counts) == {
        study.POINTS
    }
    scales = dict(
        zip(profiles.PROFILE_MEASURES, (axes.get_yscale() for axes in drawn("profile", pair).axes), strict=False)
    )
    assert {measure for measure, scale in scales.items() if scale == "log"} == set(profiles.LOGARITHMIC)


# steps


def test_a_planted_spike_is_marked_with_its_p(spiked):
    found = spiked.transitions.dropna(subset="transition").iloc[0]
    assert (found["step"], found["transition"]) == (SPIKE, "spike")
    figure = drawn("transitions", spiked)
    assert f"spike, p = {found['p']:.2g}" in words(figure) and "1 found" in caption(figure)
    assert f"{spiked.transitions['threshold'].iloc[0]:.1f}" in caption(figure)


def test_segments_are_drawn_at_their_levels(spiked):
    rows = spiked.transitions
    above = drawn("transitions", spiked).axes[0]
    heights = {round(float(line[0, 1]), 5) for lines in above.collections for line in lines.get_segments()
               if len(line) and line[0, 1] == line[-1, 1]}  # fmt: skip
    assert {round(level, 5) for level in rows["level"]} <= heights


def test_every_basis_is_over_its_own_mean(pair):
    rows = transitions.bases_table(pair)
    assert_allclose(rows.groupby(["line", "kind", "basis"])["relative"].mean(), 1)
    labels = {line.get_label() for line in drawn("bases", pair).axes[0].lines}
    assert labels == {"raw", "unit", "shared_pca", "shared_pca_unit"}


def test_a_mean_over_tasks_is_missing_where_a_task_is():
    rows = pd.DataFrame({"line": ["base"] * 4, "point": [0, 0, 1, 1], "value": [1.0, np.nan, 2.0, 4.0]})
    assert mean_by_depth(rows)["value"].tolist() == pytest.approx([np.nan, 3.0], nan_ok=True)
