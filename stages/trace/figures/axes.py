"""The figure of RankMe and alpha of every training from scratch against three measures of training time."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from stages.shared.figure_style import legend, log_ticks, looks, nothing, sheet, styled
from stages.trace.figures.inputs import CourseTables, TraceFigureInputs, failure_sentence, half_width, headline_place
from stages.trace.figures.time import LABELS, axis_positions, time_axis, write_note

TITLE = "RankMe and α of pretraining against steps, tokens and compute"
MEASURES = {"rankme": "RankMe", "alpha": "α"}
TIMES = ("step", "tokens", "flops")
MEAN = "mean"
# The ratio of the largest RankMe to the smallest from which its axis is logarithmic.
WIDE = 8


def table(inputs: TraceFigureInputs) -> pd.DataFrame:
    """Return rows with columns line, run, step, tokens, flops, and rankme and alpha with low and high.

    The run is `mean` over families, or each family of several; unknown tokens and operations are empty.
    """
    roots = [tables for tables in inputs.courses.values() if tables.course.parent is None]
    parts = [rows for tables in roots for rows in _rows(tables, inputs.confidence)]
    columns = ["line", "run", *TIMES, *(f"{name}{end}" for name in MEASURES for end in ("", "_low", "_high"))]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)


def _rows(tables: CourseTables, confidence: float) -> list[pd.DataFrame]:
    flops = tables.checkpoints.groupby("run", sort=False)["flops"].apply(lambda values: values.to_numpy(float))
    means = (MEAN, tables.series, np.mean(list(flops), axis=0))
    families = zip(tables.course.runs, tables.families, flops[list(tables.course.runs)], strict=True)
    parts = []
    for run, series, operations in [means, *(families if len(tables.families) > 1 else [])]:
        rows = pd.DataFrame(
            {
                "line": tables.course.name,
                "run": run,
                "step": np.rint(series.steps).astype(int),
                "tokens": series.tokens,
                "flops": operations,
            }
        )
        for measure, value, deviations, inverse in (
            ("rankme", series.ln_rankme, series.ln_rankme_deviations, np.exp),
            ("alpha", series.alpha, series.alpha_deviations, np.asarray),
        ):
            half = half_width(deviations, confidence) if run == MEAN else np.nan
            low, high = inverse(value - half), inverse(value + half)
            rows = rows.assign(**{measure: inverse(value), f"{measure}_low": low, f"{measure}_high": high})
        parts.append(rows)
    return parts


@styled
def draw(rows: pd.DataFrame, inputs: TraceFigureInputs) -> Figure:
    """Draw a column for each measure of time, a row for RankMe and for alpha, a colour for each course."""
    if rows.empty:
        return nothing(
            TITLE,
            "No training from scratch is traced: name the base, or runs without a parent, under `trace` in params.yaml.",
        )
    styles = looks(inputs.courses)
    has_families = rows["run"].nunique() > 1
    figure = sheet(
        5.6,
        TITLE,
        f"{headline_place(inputs.headline)}. Bands: {100 * inputs.confidence:g} % intervals over sequences"
        + (", over families where there are several (thin lines)" if has_families else "")
        + ". Operations: 6 × parameters × tokens. RankMe of models of unlike width has unlike upper bounds. Dotted: from the untrained model to the first checkpoint, not to scale."
        + failure_sentence([inputs.courses[name] for name in dict.fromkeys(rows["line"])]),
    )
    grid = figure.subplots(2, 3, sharex="col", sharey="row")
    for i, (measure, label) in enumerate(MEASURES.items()):
        for axes, time in zip(grid[i], TIMES, strict=True):
            _panel(axes, rows.dropna(subset=time), measure, time, styles)
        grid[i, 0].set_ylabel(label)
    if rows["rankme"].max() > WIDE * rows["rankme"].min():
        grid[0, 0].set_yscale("log")
        log_ticks(grid[0, 0].yaxis)
    for axes, time in zip(grid[1], TIMES, strict=True):
        time_rows = rows.dropna(subset=time)
        if len(time_rows):
            time_axis(axes, time_rows[time], time, 5)
        else:
            write_note(grid[0, TIMES.index(time)], "tokens not known")
            axes.set_xlabel(LABELS[time])
    legend(
        figure,
        [
            Line2D([], [], color=styles[name].colour, linewidth=1.8, label=_label(name, rows, styles))
            for name in dict.fromkeys(rows["line"])
        ],
    )
    return figure


def _panel(axes, rows: pd.DataFrame, measure: str, time: str, styles: dict) -> None:
    """Draw each run; untrained models stand at the left edge, joined by a dotted line: that distance is not to scale."""
    for (name, run), run_rows in rows.assign(position=axis_positions(rows[time])).groupby(["line", "run"], sort=False):
        look, width = {"color": styles[name].colour, "label": name}, 1.8 if run == MEAN else 0.6
        trained = run_rows[run_rows[time] > 0]
        start = pd.concat([run_rows[run_rows[time] == 0], trained.head(1)])
        axes.plot(
            start["position"],
            start[measure],
            linestyle=(0, (1, 1)),
            linewidth=width,
            marker="o",
            markersize=2.4,
            **look,
        )
        axes.plot(
            trained["position"],
            trained[measure],
            linewidth=width,
            marker="o" if run == MEAN else "",
            markersize=2.4,
            **look,
        )
        axes.fill_between(
            trained["position"],
            trained[f"{measure}_low"],
            trained[f"{measure}_high"],
            color=look["color"],
            alpha=0.2,
            linewidth=0,
        )


def _label(name: str, rows: pd.DataFrame, styles: dict) -> str:
    """Return the label of a course, which says so where it has no tokens and so no curve in two columns."""
    is_unknown = rows.loc[rows["line"] == name, "tokens"].isna().all()
    return styles[name].label + (" (tokens not known: left column only)" if is_unknown else "")
