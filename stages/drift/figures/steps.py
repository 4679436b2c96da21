"""Transitions of the curves over depth, and what the choice of basis makes of them."""

from __future__ import annotations

import textwrap

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from stages.drift.clouds import CONTENT
from stages.drift.curves import neighbours
from stages.drift.figures.inputs import Inputs, name_points
from stages.drift.params import BASES
from stages.drift.samples import FINAL
from stages.shared.figure_style import GREY, legend, log_ticks, looks, nothing, sheet, styled, widths

SHORT = "No curve has the seven steps that transitions need."
KINDS = {"layers": "from layer to layer", "models": "from the reference"}
BASIS_LINES = 2
TITLE_LETTERS = 30
"""Of a line of a title over one of three panels."""


@styled
def draw_transitions(rows: pd.DataFrame, read: Inputs) -> Figure:
    """Above the curves with their segments and transitions, below the leave-one-out z; a column for each kind."""
    title = "Transitions over depth"
    if rows.empty:
        return nothing(title, SHORT)
    kinds = [kind for kind in KINDS if kind in set(rows["kind"])]
    thresholds = rows.groupby("kind")["threshold"].agg(["min", "max"])
    stated = "; ".join(f"{KINDS[k]} {thresholds['min'][k]:.1f} to {thresholds['max'][k]:.1f}" for k in kinds)
    count = int((rows["transition"].fillna("") != "").sum())
    figure = sheet(
        5.0, title,
        f"W2 ± 2 standard errors; {read.sample}, basis {read.params.basis}. Bars: segments of constant level (they describe; a ramp is cut too). Marks: spikes and "
        f"shifts whose statistic exceeds what the largest of a straight curve with this noise and unevenness reaches in "
        f"{read.params.confidence:.0%} of draws ({stated}): {count} found. Below: each step against the others (median, MAD); knows nothing of order.",
    )  # fmt: skip
    styles = looks(read.families)
    wide = widths(styles)
    grid = figure.subplots(2, len(kinds), squeeze=False, sharex="col", gridspec_kw={"height_ratios": [2, 1]})
    for column, kind in enumerate(kinds):
        above, below = grid[:, column]
        for line, own in rows[rows["kind"] == kind].groupby("line", sort=False):
            look = styles[line]
            above.errorbar(own["step"], own["value"], 2 * own["standard_error"], color=look.colour, linestyle=look.dash,
                           linewidth=wide[line], elinewidth=0.8)  # fmt: skip
            for _, part in own.groupby("segment"):
                above.hlines(part["level"].iloc[0], part["step"].min() - 0.4, part["step"].max() + 0.4, color=look.colour,
                             linewidth=3, alpha=0.25)  # fmt: skip
            for row in own[own["transition"].fillna("") != ""].itertuples():
                above.annotate(f"{row.transition}, p = {row.p:.2g}", (row.step, row.value), (4, 10), color=look.ink,
                               textcoords="offset points", fontsize=7.5, arrowprops={"arrowstyle": "-", "color": look.colour})  # fmt: skip
            below.plot(
                own["step"],
                own["z"],
                color=look.colour,
                linestyle=look.dash,
                linewidth=wide[line],
                marker=".",
                markersize=4,
            )
        below.axhline(0, color=GREY, linewidth=0.8)
        steps = int(rows.loc[rows["kind"] == kind, "step"].max()) + 1
        name_points(below.xaxis, steps + (kind == "layers"), steps=kind == "layers")
        below.tick_params(axis="x", rotation=45)
        above.set_title(KINDS[kind])
        if kind == "models":
            above.set_yscale("log")
            log_ticks(above.yaxis)
        if (rows.loc[rows["kind"] == kind, "transition"].fillna("") != "").any():
            above.margins(y=0.2)  # room for the marks
    grid[0, 0].set_ylabel("W2")
    grid[1, 0].set_ylabel("leave-one-out z")
    legend(figure, [Line2D([], [], color=look.colour, linestyle=look.dash, linewidth=wide[line], label=look.label)
                    for line, look in styles.items() if line in set(rows["line"])], columns=read.columns)  # fmt: skip
    return figure


def bases_table(read: Inputs) -> pd.DataFrame:
    """W2 of both kinds in every basis over its mean over depth: line, kind, basis, point, value, relative."""
    rows = read.records
    rows = rows[(rows["measure"] == "w2") & (rows["tokens"] == CONTENT) & (rows["state"] == FINAL)]
    parts = [neighbours(rows, kind) for kind in KINDS]
    keys = ["line", "kind", "basis", "point"]
    found = pd.concat(parts).groupby(keys, sort=False, as_index=False)["value"].mean()
    means = found.groupby(["line", "kind", "basis"])["value"].transform("mean")
    return found.assign(relative=found["value"] / means)


@styled
def draw_bases(rows: pd.DataFrame, read: Inputs) -> Figure:
    """A panel for each kind and each of the first lines that have it; a curve for each basis."""
    panels = [
        (kind, line)
        for kind, lines in (("layers", read.bases[:1]), ("models", read.siblings[:BASIS_LINES]))
        for line in lines
    ]
    figure = sheet(
        3.5, "What depends on the basis",
        f"W2 over its mean over depth; {read.sample}; in residual space (raw), its directions (unit), one PCA of {read.params.components} "
        "directions for all points (shared_pca), and directions in it. Lengths grow with depth: raw distances grow with them.",
    )  # fmt: skip
    for axes, (kind, line) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        own = rows[(rows["kind"] == kind) & (rows["line"] == line)]
        for basis, colour in zip(BASES, ("#D55E00", "#0072B2", "#E8A33D", "#7FB8DE"), strict=True):
            here = own[own["basis"] == basis]
            axes.plot(here["point"], here["relative"], color=colour, linewidth=1.6, label=basis, marker=".")
        axes.set_ylim(bottom=0)
        name_points(axes.xaxis, int(own["point"].max()) + 1 + (kind == "layers"), steps=kind == "layers")
        axes.tick_params(axis="x", rotation=90)
        axes.set_title(textwrap.fill(f"{read.styles[line].label}, {KINDS[kind]}", TITLE_LETTERS))
    figure.axes[0].legend()
    return figure
