"""RankMe and alpha of every training from scratch against three measures of training time."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from stages.shared.figure_style import legend, log_ticks, looks, nothing, sheet, styled
from stages.trace.figures.inputs import Inputs, Traced, failures, reach, where
from stages.trace.figures.time import LABELS, note, places, time_axis

TITLE = "RankMe and α of pretraining against steps, tokens and compute"
MEASURES = {"rankme": "RankMe", "alpha": "α"}
TIMES = ("step", "tokens", "flops")
MEAN = "mean"
WIDE = 8
"""Ratio of the largest RankMe to the smallest from which its axis is logarithmic."""


def table(read: Inputs) -> pd.DataFrame:
    """Columns line, run (`mean` over families, and each family of several), step, tokens, flops, rankme and alpha with low
    and high; unknown tokens and operations are empty."""
    parts = [rows for one in read.lines.values() if one.line.parent is None for rows in _rows(one, read.confidence)]
    columns = ["line", "run", *TIMES, *(f"{name}{end}" for name in MEASURES for end in ("", "_low", "_high"))]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)


def _rows(one: Traced, confidence: float) -> list[pd.DataFrame]:
    flops = one.checkpoints.groupby("run", sort=False)["flops"].apply(lambda values: values.to_numpy(float))
    means = (MEAN, one.series, np.mean(list(flops), axis=0))
    families = zip(one.line.runs, one.families, flops[list(one.line.runs)], strict=True)
    found = []
    for run, series, operations in [means, *(families if len(one.families) > 1 else [])]:
        rows = pd.DataFrame(
            {"line": one.line.name, "run": run, "step": np.rint(series.steps).astype(int), "tokens": series.tokens, "flops": operations}
        )  # fmt: skip
        for measure, name, back in (("rankme", "ln_rankme", np.exp), ("alpha", "alpha", np.asarray)):
            value, half = (
                getattr(series, name),
                reach(getattr(series, f"{name}_deviations"), confidence) if run == MEAN else np.nan,
            )
            rows = rows.assign(
                **{measure: back(value), f"{measure}_low": back(value - half), f"{measure}_high": back(value + half)}
            )
        found.append(rows)
    return found


@styled
def draw(rows: pd.DataFrame, read: Inputs) -> Figure:
    """A column for each measure of time, a row for RankMe and for alpha, a colour a line."""
    if rows.empty:
        return nothing(
            TITLE,
            "No training from scratch is traced: name the base, or runs without a parent, under `trace` in params.yaml.",
        )
    styles = looks(read.lines)
    several = rows["run"].nunique() > 1
    figure = sheet(
        5.6, TITLE,
        f"{where(read.headline)}. Bands: {100 * read.confidence:g} % intervals over sequences"
        + (", over families where there are several (thin lines)" if several else "")
        + ". Operations: 6 × parameters × tokens. RankMe of models of unlike width has unlike upper bounds. Dotted: from the untrained model to the first checkpoint, not to scale."
        + failures([read.lines[name] for name in dict.fromkeys(rows["line"])]),
    )  # fmt: skip
    grid = figure.subplots(2, 3, sharex="col", sharey="row")
    for i, (measure, label) in enumerate(MEASURES.items()):
        for axes, time in zip(grid[i], TIMES, strict=True):
            _panel(axes, rows.dropna(subset=time), measure, time, styles)
        grid[i, 0].set_ylabel(label)
    if rows["rankme"].max() > WIDE * rows["rankme"].min():
        grid[0, 0].set_yscale("log")
        log_ticks(grid[0, 0].yaxis)
    for axes, time in zip(grid[1], TIMES, strict=True):
        known = rows.dropna(subset=time)
        if len(known):
            time_axis(axes, known[time], time, 5)
        else:
            note(grid[0, TIMES.index(time)], "tokens not known")
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
    """Untrained models stand at the left edge, joined by a dotted line: how far the first step lies is not to scale."""
    for (name, run), line in rows.assign(at=places(rows[time])).groupby(["line", "run"], sort=False):
        look, width = {"color": styles[name].colour, "label": name}, 1.8 if run == MEAN else 0.6
        trained = line[line[time] > 0]
        start = pd.concat([line[line[time] == 0], trained.head(1)])
        axes.plot(
            start["at"], start[measure], linestyle=(0, (1, 1)), linewidth=width, marker="o", markersize=2.4, **look
        )
        axes.plot(
            trained["at"], trained[measure], linewidth=width, marker="o" if run == MEAN else "", markersize=2.4, **look
        )
        axes.fill_between(
            trained["at"],
            trained[f"{measure}_low"],
            trained[f"{measure}_high"],
            color=look["color"],
            alpha=0.2,
            linewidth=0,
        )


def _label(name: str, rows: pd.DataFrame, styles: dict) -> str:
    """With the lines whose tokens are not known said to be absent from two columns."""
    unknown = rows.loc[rows["line"] == name, "tokens"].isna().all()
    return styles[name].label + (" (tokens not known: left column only)" if unknown else "")
