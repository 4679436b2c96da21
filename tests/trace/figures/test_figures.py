"""The figures of traced training: planted courses are in their tables, and what is drawn is what the tables hold."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

from stages.shared.figure_style import save
from stages.trace.figures import axes as trace_axes
from stages.trace.figures import course as trace_course
from stages.trace.figures import layers as trace_layers
from stages.trace.figures import memorization as trace_memorization
from stages.trace.figures import rarefaction as trace_rarefaction
from stages.trace.figures import spectra as trace_spectra
from stages.trace.figures import time as trace_time
from stages.trace.figures import views as trace_views
from stages.trace.figures.inputs import TraceFigureError, main_lineage, read_inputs
from stages.trace.lineage import Course
from tests.support import trace_study as study

WITH_TRACES = (trace_spectra, trace_layers)
FIGURES = (trace_course, trace_axes, trace_views, trace_memorization, trace_rarefaction, *WITH_TRACES)
RANKME = ("rankme_eigen", "centred_eigen")


def table_of(figure, root, read):
    extra = {trace_spectra: (root / "data/trace/runs", study.DECAY), trace_layers: (root / "data/trace/runs",)}
    return figure.table(read, *extra.get(figure, ()))


@pytest.fixture(scope="module")
def one_family(tmp_path_factory):
    root = tmp_path_factory.mktemp("one_family")
    study.write_organisms(root)
    return root, study.gathered(root, study.organism_courses())


@pytest.fixture(scope="module")
def two_families(tmp_path_factory):
    root = tmp_path_factory.mktemp("two_families")
    study.write_organisms(root, (0, 1))
    return root, study.gathered(root, study.organism_courses((0, 1)))


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    """A checkpoint failed, and rows are few for the width."""
    root = tmp_path_factory.mktemp("hub")
    study.write_hub(root, failed=(4,), rows=100)
    return root, study.gathered(root, study.hub_courses())


@pytest.fixture(scope="module")
def nothing(tmp_path_factory):
    root = tmp_path_factory.mktemp("nothing")
    return root, study.gathered(root, [])


@pytest.fixture(params=["one_family", "two_families", "hub"])
def a_study(request):
    return request.getfixturevalue(request.param)


def words(figure):
    """All that is written on a figure."""
    figure.canvas.draw()
    return "\n".join(text.get_text() for text in figure.findobj(lambda artist: hasattr(artist, "get_text")))


def caption(figure):
    return " ".join(figure.texts[1].get_text().split())


@pytest.mark.parametrize("figure", FIGURES)
def test_every_figure_is_small_twice_the_same_and_cuts_nothing_off(figure, a_study, tmp_path):
    root, read = a_study
    for name in ("first", "second"):
        drawn = figure.draw(table_of(figure, root, read), read)
        save(drawn, tmp_path / f"{name}.png")
    first = (tmp_path / "first.png").read_bytes()
    assert len(first) < 150_000 and first == (tmp_path / "second.png").read_bytes()
    box, (width, height) = drawn.get_tightbbox(), drawn.get_size_inches()
    assert min(box.x0, box.y0, width - box.x1, height - box.y1) > -0.01


@pytest.mark.parametrize("figure", FIGURES)
def test_a_study_without_any_line_says_so(figure, nothing):
    root, read = nothing
    rows = table_of(figure, root, read)
    assert rows.empty and len(rows.columns)
    assert "under `trace` in params.yaml" in caption(figure.draw(rows, read))


# course


def test_the_course_holds_the_planted_collapse_and_growth(one_family):
    rows = trace_course.table(one_family[1])
    base = rows[(rows["line"] == "base") & (rows["quantity"] == "rankme")].set_index("step")
    assert base["value"].idxmin() == study.TURN
    assert_allclose(base["value"], [study.measures_of_power_law(a)[RANKME] for a in study.exponents()], rtol=1e-9)
    assert (base["low"] < base["value"]).all() and (base["value"] < base["high"]).all()
    assert_allclose(base["tokens"], base.index * study.TOKENS_PER_STEP)


def test_later_lines_begin_with_their_parents_end_and_have_paired_intervals(one_family):
    rows = trace_course.table(one_family[1])
    rows = rows[rows["quantity"] == "alpha"].set_index(["line", "step"])[["value", "low", "high"]]
    level = rows.loc["base", study.STEPS[-1]]
    ends = {"sft": ("base", study.STEPS[-1]), "rl_zero": ("base", study.STEPS[-1]), "think": ("sft", 100)}
    for line, end in ends.items():
        assert_allclose(rows.loc[line, 0], rows.loc[end, "value"])  # no interval: it is no change
        change, steps = study.LATER[line]
        last = rows.loc[line, steps[-1]]
        assert last["value"] - rows.loc[line, 0]["value"] == pytest.approx(change)
        assert (last["high"] - last["low"]) < 0.5 * (level["high"] - level["low"])


def test_the_course_titles_say_the_direction_with_its_interval(one_family):
    root, read = one_family
    text = words(trace_course.draw(trace_course.table(read), read))
    found = read.directions.set_index(["line", "measure"])
    change = 100 * np.expm1(found.loc[("sft", "ln_rankme"), "change"])
    assert f"up +{change:.1f} %" in text and "SFT, from Base" in text and "Think, from SFT" in text
    assert "down −0.050" in text and "up +0.020" in text  # of alpha
    assert "warm-up collapse" in text and f"at step {study.TURN}" in text


@pytest.mark.parametrize(
    ("quantity", "values", "text"),
    [
        ("rankme", (0.0109889, 0.00821999, 0.0137577), "up +1.1 %\n[0.8, 1.4]"),
        ("alpha", (-0.021482, -0.0285833, -0.0143807), "up −0.021\n[−0.029, −0.014]"),
        ("alpha", (0.0008164, 0.0005822, 0.0010506), "up +0.0008\n[0.0006, 0.0011]"),
        ("alpha", (0.0, 0.0, 0.0), "up +0\n[0, 0]"),
    ],
)
def test_changes_have_as_many_digits_as_their_interval_and_relative_ones_are_in_percent(quantity, values, text):
    found = pd.Series(dict(zip(("change", "low", "high"), values, strict=True)) | {"label": "up"})
    assert trace_course.change_text(quantity, found) == text


def test_the_enlarged_panels_state_their_scale(one_family):
    root, read = one_family
    figure = trace_course.draw(trace_course.table(read), read)
    figure.canvas.draw()
    base, sft = figure.axes[:2]
    heights = [np.ptp(axes.get_ylim()) for axes in (base, sft)]
    assert f"×{heights[0] / heights[1]:.2g}" in words(figure)
    strip = [patch for patch in base.patches if patch.get_height() == pytest.approx(heights[1])]
    assert len(strip) == 1 and strip[0].get_y() == pytest.approx(sft.get_ylim()[0])
    for row in (8, 12):  # memorization and accuracy are on one scale
        assert len({axes.get_ylim() for axes in figure.axes[row : row + 4]}) == 1


def test_families_are_thin_and_their_mean_is_thick(two_families):
    root, read = two_families
    rows = trace_course.table(read)
    base = rows[(rows["line"] == "base") & (rows["quantity"] == "rankme") & (rows["step"] == 256)].set_index("run")
    assert list(base.index) == ["mean", "base-s0", "base-s1"]
    assert np.log(base["value"]["mean"]) == pytest.approx(np.log(base["value"][1:]).mean())
    assert base["low"].isna().tolist() == [False, True, True]
    drawn = {line.get_label(): line.get_linewidth() for line in trace_course.draw(rows, read).axes[0].lines}
    assert drawn["base-s0"] < drawn["mean"]
    assert "over 2 families" in caption(trace_course.draw(rows, read))


def test_a_run_without_corpus_and_accuracy_and_with_a_failed_checkpoint(hub):
    root, read = hub
    rows = trace_course.table(read)
    assert set(rows["quantity"]) == {"rankme", "alpha"} and 4 not in set(rows["step"])
    said = caption(trace_course.draw(rows, read))
    assert "memorization and accuracy" in said and f"1 of {study.HUB}" in said
    assert "corpus" in caption(trace_memorization.draw(trace_memorization.table(read), read))


def test_the_course_is_that_of_the_line_with_most_descendants(tmp_path):
    study.write_organisms(tmp_path)
    study.write_hub(tmp_path)
    read = study.gathered(tmp_path, study.hub_courses() + study.organism_courses())
    assert [one.course.name for one in main_lineage(read.courses)] == ["base", "sft", "rl_zero", "think"]
    figure = trace_course.draw(trace_course.table(read), read)
    assert f"Not of this course: {study.HUB}, {study.HUB}-sft" in caption(figure)


def test_a_line_whose_parent_is_not_traced_is_a_course_of_its_own(tmp_path):
    study.write_hub(tmp_path)
    read = study.gathered(tmp_path, study.hub_courses()[1:])
    for figure in FIGURES:
        figure.draw(table_of(figure, tmp_path, read), read)
    assert "from scratch" in caption(trace_axes.draw(trace_axes.table(read), read))
    assert list(trace_course.table(read)["line"].unique()) == [f"{study.HUB}-sft"]


def test_many_lines_find_room_and_the_rest_is_named(tmp_path):
    study.write_hub(tmp_path)
    lines = study.hub_courses()[:1]
    for i in range(10):
        study.write_run(tmp_path, f"run-{i}", (10, 20), np.array([0.85, 0.8 - i / 100]))
        lines.append(Course(f"run-{i}", (f"run-{i}",), study.HUB, ()))
    read = study.gathered(tmp_path, lines)
    figure = trace_course.draw(trace_course.table(read), read)
    assert len(figure.axes) == 2 * (1 + trace_course.MOST)
    assert "In the table only: run-8, run-9." in caption(figure)


# the other figures


def test_axes_have_six_n_d_and_leave_unknown_times_empty(tmp_path):
    study.write_hub(tmp_path)
    study.write_run(tmp_path, "untold", study.STEPS, study.exponents())
    read = study.gathered(tmp_path, [*study.hub_courses(), Course("untold", ("untold",), None, ())])
    rows = trace_axes.table(read).set_index("line")
    known = rows.loc[study.HUB]
    assert_allclose(known["flops"], 6.0 * study.PARAMETERS * known["tokens"])
    assert rows.loc["untold", ["tokens", "flops"]].isna().all(axis=None)
    assert f"{study.HUB}-sft" not in rows.index
    figure = trace_axes.draw(rows.reset_index(), read)
    assert [len({line.get_label() for line in axes.lines}) for axes in figure.axes[:3]] == [2, 1, 1]
    assert "untold (tokens not known: left column only)" in words(figure)


def test_untrained_models_share_the_left_edge(tmp_path):
    study.write_organisms(tmp_path)
    study.write_hub(tmp_path)
    read = study.gathered(tmp_path, study.organism_courses(recipes=("base",)) + study.hub_courses())
    tokens = trace_axes.draw(trace_axes.table(read), read).axes[1]
    starts = {line.get_xdata()[0] for line in tokens.lines if len(line.get_xdata()) == 2}
    assert starts == {study.TOKENS_PER_STEP / 2}
    assert tokens.get_xticks()[0] == study.TOKENS_PER_STEP / 2


def test_spectra_are_shares_and_the_law_is_that_of_the_tables(one_family):
    root, read = one_family
    rows = trace_spectra.table(read, root / "data/trace/runs", study.DECAY)
    steps = rows.loc[rows["line"] == "base", "step"].unique()
    assert len(steps) == trace_spectra.PANELS and {0, study.TURN, study.STEPS[-1]} <= set(steps)
    turn = rows[(rows["line"] == "base") & (rows["step"] == study.TURN)].set_index("rank")
    exponent = study.exponents()[study.STEPS.index(study.TURN)]
    shares = np.arange(1.0, study.WIDTH + 1) ** -exponent
    assert_allclose(turn["share"], (shares / shares.sum())[turn.index - 1])
    assert_allclose(turn["alpha"], exponent)  # an exact law: the fit lies on the spectrum
    fitted = turn.dropna(subset="fit")
    assert_allclose(fitted["fit"], fitted["share"])
    assert (fitted.index.min(), fitted.index.max()) == (3, 16)  # 0.08 and 0.5 of the width
    assert_allclose(turn["fitted_share"], shares[2:16].sum() / shares.sum())
    think = rows[rows["line"] == "think"]
    sft = rows[rows["line"] == "sft"]
    assert set(think["behind"]) == {"sft at its end"}
    assert_allclose(think["behind_share"].iloc[0], sft["share"].iloc[0])


def test_few_checkpoints_are_all_shown_and_many_are_spread():
    phases = pd.DataFrame({"from_step": [0, 30]})
    assert trace_spectra.drawn_steps(np.array([0, 10, 30]), phases) == [0, 10, 30]
    many = trace_spectra.drawn_steps(np.arange(0, 1000), phases)
    assert len(many) == trace_spectra.PANELS and many[0] == 0 and many[-1] == 999 and 30 in many
    assert max(np.diff(np.log1p(many))) < 2 * np.log(1000) / 7  # twice the even gap


def test_views_hold_every_choice_with_its_chance_level(one_family):
    rows = trace_views.table(one_family[1]).set_index(["panel", "curve"])
    assert rows.index.get_level_values("panel").nunique() == 6
    assert set(rows.loc[trace_views.BANDS].index) == {"ranks 0 to 10 %", "ranks 10 to 40 %", "ranks 40 to 100 %"}
    spectrum = rows.loc["RankMe: of which spectrum"]
    assert_allclose(spectrum["null"], study.WIDTH, rtol=1e-5)
    singular = spectrum.loc["singular values, raw (Garrido et al.)", "value"]
    assert (singular.to_numpy() > spectrum.loc["eigenvalues, centred (Li et al.)", "value"].to_numpy()).all()
    fits = rows.loc["α: by which fit", "value"]
    for label, variant in (("weighted, relative ranks", "weighted_"), ("legacy, ranks 12 to 100", "legacy_")):
        exponent = study.exponents()[-1]
        wanted = next(
            v
            for (m, name), v in study.measures_of_power_law(exponent).items()
            if m == "alpha" and name.startswith(variant)
        )
        assert fits[label].iloc[-1] == pytest.approx(wanted)


def test_the_legends_of_views_tell_where_the_extreme_lies(one_family):
    root, read = one_family
    text = words(trace_views.draw(trace_views.table(read), read))
    assert f"after the final norm [{study.TURN}]" in text and f"legacy, ranks 12 to 100 [{study.TURN}]" in text


def test_a_chance_level_that_would_flatten_the_curves_is_written():
    rows = pd.DataFrame(
        {
            "curve": "content tokens",
            "measure": "rankme_eigen",
            "step": [1, 2],
            "tokens": [10, 20],
            "value": [20.0, 30.0],
            "null": 4090.0,
        }
    )
    from stages.shared.figure_style import sheet

    axes = sheet(3, "", "").subplots()
    trace_views._curves(axes, rows, "tokens")
    assert axes.get_legend().get_texts()[0].get_text() == "content tokens [1], chance 4.09e+03"
    assert axes.get_ylim()[1] < 50


def test_layers_are_shares_of_the_width_up_to_the_final_norm(one_family):
    root, read = one_family
    rows = trace_layers.table(read, root / "data/trace/runs")
    base = rows[(rows["line"] == "base") & (rows["measure"] == "rankme_eigen")].set_index(["site", "layer", "step"])[
        "value"
    ]
    wanted = study.measures_of_power_law(study.exponents()[0])[RANKME] / study.WIDTH
    assert base["final_norm", study.LAYERS - 1, 0] == pytest.approx(wanted)
    assert base["resid_post", 0, 0] > base["resid_post", study.LAYERS - 1, 0]
    ends = rows[rows["line"] != "base"].groupby("line")["step"].unique().map(list)
    assert ends.to_dict() == {"sft": [100], "rl_zero": [20], "think": [10]}
    axes = trace_layers.draw(rows, read).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["0", "1", "2", "final norm"]
    assert len(axes.collections) == 2 * 4


def test_memorization_rises_with_the_count_and_leaves_out_what_never_occurs(one_family):
    root, read = one_family
    rows = trace_memorization.table(read)
    base = rows[rows["line"] == "base"].set_index(["quantity", "kind", "step"]).sort_index()
    assert base.loc[("rho", "arbitrary", 256), "value"] > 0.9
    counts = np.array([count for count in study.COUNTS if count])
    known = np.minimum(-6 + 1.5 * np.log1p(counts), -0.001)
    mean = base.loc[("log_likelihood", "arbitrary", 256)]
    assert mean["value"] == pytest.approx(known.mean(), rel=1e-5)  # of a table of six digits
    course_rows = trace_course.table(read)
    end = course_rows[(course_rows["line"] == "base") & (course_rows["quantity"] == "rankme")]["value"].iloc[-1]
    assert mean["rankme"] == pytest.approx(end)
    greedy = base.loc[("greedy", "arbitrary", 256)].set_index("stratum")["value"]
    assert greedy["10+"] > greedy["1-9"] >= greedy["0"] == 0


def test_memorization_marks_the_ends_of_later_lines(one_family):
    root, read = one_family
    rows = trace_memorization.table(read)
    right = trace_memorization.draw(rows, read).axes[2]
    stars = [(line.get_xdata()[0], line.get_ydata()[0]) for line in right.lines if line.get_marker() == "*"]
    ends = rows[(rows["quantity"] == "log_likelihood") & (rows["kind"] == "arbitrary") & (rows["line"] != "base")]
    ends = ends.groupby("line", sort=False).tail(1)
    assert_allclose(stars, ends[["rankme", "value"]].to_numpy())


def test_rarefaction_is_drawn_where_rows_are_few_and_otherwise_said_to_be_needless(hub, one_family):
    root, read = hub
    rows = trace_rarefaction.table(read)
    assert set(rows["n"]) == {25, 50, 100}
    one = rows[
        (rows["line"] == study.HUB) & (rows["level"] == "token") & (rows["site"] == "final_norm") & (rows["n"] == 50)
    ]
    wanted = study.measures_of_power_law(study.exponents()[-1], 100)[RANKME] / 2**0.2
    assert one.set_index("measure")["value"]["rankme_eigen"] == pytest.approx(wanted)
    assert len(trace_rarefaction.draw(rows, read).axes) == 8
    read = one_family[1]
    assert "n ≥ 5 d" in caption(trace_rarefaction.draw(trace_rarefaction.table(read), read))


# time and inputs


def test_the_untrained_model_stands_left_of_the_first_step():
    assert_allclose(trace_time.axis_positions([0, 1000, 5000]), [500, 1000, 5000])
    assert_allclose(trace_time.axis_positions([3, 9]), [3, 9])
    assert_allclose(trace_time.axis_positions([0]), [1])


def test_amounts_and_the_order_of_strata():
    assert [trace_time.amount(n) for n in (21, 2381184, 4_000_000_000, 3.3e12)] == ["21", "2.38M", "4B", "3.3T"]
    assert trace_time.sorted_strata({"100+", "0", "10-99", "1-9"}) == ["0", "1-9", "10-99", "100+"]


def test_a_missing_table_names_its_stage(tmp_path):
    study.write_hub(tmp_path)
    with pytest.raises(TraceFigureError, match="phases.csv not found: run `dvc repro trace-summarise`"):
        read_inputs(study.hub_courses(), tmp_path / "data/trace/runs", tmp_path / "plots/trace", study.HEADLINE, 0.95)
