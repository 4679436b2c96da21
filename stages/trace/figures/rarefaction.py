"""The figure of RankMe and alpha against the number of rows, where these are few for the width."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from stages.shared.figure_style import legend, log_ticks, looks, nothing, sheet, styled
from stages.trace.figures.inputs import NOT_TRACED, TraceFigureInputs, family_means
from stages.trace.series import ALPHA, RANKME, is_headline

TITLE = "What more rows would still change of RankMe and α"
MEASURES = {RANKME: "RankMe", ALPHA: "α"}
LEVELS = {"token": "content tokens", "last_token": "last tokens"}
SITES = {"final_norm": "after the final norm", "resid_post": "before the final norm"}
COLUMNS = ["line", "site", "level", "measure", "step", "n", "value"]


def table(inputs: TraceFigureInputs) -> pd.DataFrame:
    """Return columns COLUMNS: means over families at the last checkpoint of every course and the last layer.

    Only places with fewer than five rows for each dimension have any.
    """
    rarefactions = {name: tables.rarefaction for name, tables in inputs.courses.items() if len(tables.rarefaction)}
    parts = [_rows(rarefaction).assign(line=name) for name, rarefaction in rarefactions.items()]
    return pd.concat(parts, ignore_index=True)[COLUMNS] if parts else pd.DataFrame(columns=COLUMNS)


def _rows(rarefaction: pd.DataFrame) -> pd.DataFrame:
    rows = rarefaction[
        rarefaction["measure"].isin(MEASURES)
        & is_headline(rarefaction["variant"])
        & (rarefaction["layer"] == rarefaction.groupby("site")["layer"].transform("max"))
        & (rarefaction["step"] == rarefaction.groupby("run")["step"].transform("max"))
    ]
    return family_means(rows, ["site", "level", "measure", "n"], ["value"])


@styled
def draw(rows: pd.DataFrame, inputs: TraceFigureInputs) -> Figure:
    """Draw a row of panels for each measure, a column for each place."""
    if not inputs.courses:
        return nothing(TITLE, NOT_TRACED)
    if rows.empty:
        return nothing(
            TITLE, "Nothing to draw: every place measured has five rows or more for each dimension, n ≥ 5 d."
        )
    styles = looks(inputs.courses)
    places = [
        (level, site) for level in LEVELS for site in SITES if ((rows["level"] == level) & (rows["site"] == site)).any()
    ]
    figure = sheet(
        5.0,
        TITLE,
        "Last checkpoints, on all rows (n) and in the mean of halves and of quarters of the sequences. A curve that still rises "
        "is a lower bound of RankMe; checkpoints compare at equal n. Only places with n < 5 d are drawn; before the final norm: the last layer.",
    )
    grid = figure.subplots(2, len(places), sharex="col", sharey="row", squeeze=False)
    for i, (measure, label) in enumerate(MEASURES.items()):
        for axes, (level, site) in zip(grid[i], places, strict=True):
            panel = rows[(rows["measure"] == measure) & (rows["level"] == level) & (rows["site"] == site)]
            for name, curve in panel.groupby("line", sort=False):
                look = styles[name]
                axes.plot(
                    curve["n"],
                    curve["value"],
                    color=look.colour,
                    linestyle=look.dash,
                    marker=look.marker,
                    markersize=4,
                    linewidth=1.6,
                    label=name,
                )
            axes.set_xscale("log")
            log_ticks(axes.xaxis)
            counts = sorted(set(panel["n"]))
            axes.set_xticks(counts, [str(n) for n in counts])
            if i == 0:
                axes.set_title(f"{LEVELS[level]},\n{SITES[site]}")
        grid[i, 0].set_ylabel(label)
    for axes in grid[1]:
        axes.set_xlabel("rows, n")
    legend(
        figure,
        [
            Line2D(
                [],
                [],
                color=styles[name].colour,
                linestyle=styles[name].dash,
                marker=styles[name].marker,
                markersize=4,
                label=styles[name].label,
            )
            for name in dict.fromkeys(rows["line"])
        ],
    )
    return figure
