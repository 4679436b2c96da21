"""Transitions of the curves over depth, and the same curves in every basis."""

from __future__ import annotations

import textwrap

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from stages.drift.clouds import CONTENT
from stages.drift.depth_curves import curve_rows
from stages.drift.figures.inputs import DriftInputs, name_depths
from stages.drift.params import BASES
from stages.drift.sample_files import FINAL
from stages.shared.figure_style import GREY, Look, legend, log_ticks, nothing, sheet, styled, widths

TOO_SHORT = "No curve has the seven steps that transitions need."
# The comparisons that have curves, in the words of titles.
COMPARISONS = {"layers": "from layer to layer", "models": "from the reference"}
# Largest number of siblings with a panel of bases.
MOST_SIBLINGS = 2
# Letters of a line of a title over one of three panels.
TITLE_LETTERS = 30
BASIS_COLOURS = ("#D55E00", "#0072B2", "#E8A33D", "#7FB8DE")


@styled
def draw_transitions(rows: pd.DataFrame, inputs: DriftInputs) -> Figure:
    """Draw the curves with their segments and transitions, the leave-one-out z below; a column for each comparison."""
    title = "Transitions over depth"
    if rows.empty:
        return nothing(title, TOO_SHORT)
    comparisons = [comparison for comparison in COMPARISONS if comparison in set(rows["kind"])]
    thresholds = rows.groupby("kind")["threshold"].agg(["min", "max"])
    stated = "; ".join(
        f"{COMPARISONS[name]} {thresholds['min'][name]:.1f} to {thresholds['max'][name]:.1f}" for name in comparisons
    )
    count = int((rows["transition"].fillna("") != "").sum())
    figure = sheet(
        5.0,
        title,
        f"W2 ± 2 standard errors; {inputs.sample}, basis {inputs.params.basis}. Bars: segments of constant level (they "
        "describe; a ramp is cut too). Marks: spikes and shifts whose statistic exceeds what the largest of a straight "
        f"curve with this noise and unevenness reaches in {inputs.params.confidence:.0%} of draws ({stated}): {count} "
        "found. Below: each step against the others (median, MAD); knows nothing of order.",
    )
    line_widths = widths(inputs.styles)
    ratios = {"height_ratios": [2, 1]}
    grid = figure.subplots(2, len(comparisons), squeeze=False, sharex="col", gridspec_kw=ratios)
    for comparison, (upper, lower) in zip(comparisons, grid.T, strict=True):
        curves = rows[rows["kind"] == comparison]
        for recipe, curve in curves.groupby("line", sort=False):
            _draw_curve(upper, lower, curve, inputs.styles[recipe], line_widths[recipe])
        lower.axhline(0, color=GREY, linewidth=0.8)
        between_depths = comparison == "layers"
        name_depths(lower.xaxis, int(curves["step"].max()) + 1 + between_depths, steps=between_depths)
        lower.tick_params(axis="x", rotation=45)
        upper.set_title(COMPARISONS[comparison])
        if comparison == "models":
            upper.set_yscale("log")
            log_ticks(upper.yaxis)
        if (curves["transition"].fillna("") != "").any():
            upper.margins(y=0.2)  # room for the marks
    grid[0, 0].set_ylabel("W2")
    grid[1, 0].set_ylabel("leave-one-out z")
    handles = [
        Line2D([], [], color=look.colour, linestyle=look.dash, linewidth=line_widths[recipe], label=look.label)
        for recipe, look in inputs.styles.items()
        if recipe in set(rows["line"])
    ]
    legend(figure, handles, columns=inputs.columns)
    return figure


def _draw_curve(upper, lower, curve: pd.DataFrame, look: Look, width: float) -> None:
    """Draw the steps of one curve with its segments and transitions on ``upper``, its z on ``lower``."""
    line = {"color": look.colour, "linestyle": look.dash, "linewidth": width}
    upper.errorbar(curve["step"], curve["value"], 2 * curve["standard_error"], elinewidth=0.8, **line)
    for _, segment in curve.groupby("segment"):
        start, end = segment["step"].min() - 0.4, segment["step"].max() + 0.4
        upper.hlines(segment["level"].iloc[0], start, end, color=look.colour, linewidth=3, alpha=0.25)
    for row in curve[curve["transition"].fillna("") != ""].itertuples():
        upper.annotate(
            f"{row.transition}, p = {row.p:.2g}",
            (row.step, row.value),
            (4, 10),
            color=look.ink,
            textcoords="offset points",
            fontsize=7.5,
            arrowprops={"arrowstyle": "-", "color": look.colour},
        )
    lower.plot(curve["step"], curve["z"], marker=".", markersize=4, **line)


def bases_table(inputs: DriftInputs) -> pd.DataFrame:
    """Return W2 in every basis, and over its mean over depth: line, kind, basis, point, value, relative."""
    rows = inputs.records
    rows = rows[(rows["measure"] == "w2") & (rows["tokens"] == CONTENT) & (rows["state"] == FINAL)]
    parts = [curve_rows(rows, comparison) for comparison in COMPARISONS]
    curve_columns = ["line", "kind", "basis"]
    values = pd.concat(parts).groupby([*curve_columns, "point"], sort=False, as_index=False)["value"].mean()
    return values.assign(relative=values["value"] / values.groupby(curve_columns)["value"].transform("mean"))


@styled
def draw_bases(rows: pd.DataFrame, inputs: DriftInputs) -> Figure:
    """Draw a panel for each comparison and each of the first recipes that have it; a curve for each basis."""
    panels = [("layers", recipe) for recipe in inputs.bases[:1]]
    panels += [("models", recipe) for recipe in inputs.siblings[:MOST_SIBLINGS]]
    figure = sheet(
        3.5,
        "What depends on the basis",
        f"W2 over its mean over depth; {inputs.sample}; in residual space (raw), its directions (unit), one PCA of "
        f"{inputs.params.components} directions for all points (shared_pca), and directions in it. Lengths grow with "
        "depth: raw distances grow with them.",
    )
    for axes, (comparison, recipe) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        curves = rows[(rows["kind"] == comparison) & (rows["line"] == recipe)]
        for basis, colour in zip(BASES, BASIS_COLOURS, strict=True):
            curve = curves[curves["basis"] == basis]
            axes.plot(curve["point"], curve["relative"], color=colour, linewidth=1.6, label=basis, marker=".")
        axes.set_ylim(bottom=0)
        between_depths = comparison == "layers"
        name_depths(axes.xaxis, int(curves["point"].max()) + 1 + between_depths, steps=between_depths)
        axes.tick_params(axis="x", rotation=90)
        axes.set_title(textwrap.fill(f"{inputs.styles[recipe].label}, {COMPARISONS[comparison]}", TITLE_LETTERS))
    figure.axes[0].legend()
    return figure
