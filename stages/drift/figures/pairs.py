"""All pairs of layers, pairs of successive checkpoints, and transport beside simple distances."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from stages.drift.clouds import CONTENT
from stages.drift.figures.inputs import Inputs, headline, name_points
from stages.drift.samples import FINAL, UNTRAINED
from stages.shared.figure_style import legend, nothing, sheet, styled
from stages.statistics.rank_correlation import spearman

MOST_PANELS = 6
TITLE_LETTERS = 84
"""Of the titles of one row of panels."""
SIMPLE = {
    "identity_cost": "√ identity cost", "sinkhorn_divergence": "√ Sinkhorn divergence", "bures_w2": "Gaussian W2",
    "sliced_w2": "sliced W2", "all_euclidean": "mean Euclidean, all pairs", "all_cosine": "mean cosine, all pairs",
}  # fmt: skip
SQUARES = ("identity_cost", "sinkhorn_divergence")
NO_MOVEMENT = "Nothing moved between the checkpoints."
NO_CHECKPOINTS = "No model has checkpoints: organisms do, and the runs named in drift.runs."


def layers_table(read: Inputs) -> pd.DataFrame:
    """W2 between all pairs of points: line, point, other_point, value, and the change from the reference's."""
    rows = (
        headline(read, "layers").groupby(["line", "point", "other_point"], sort=False, as_index=False)["value"].mean()
    )
    reference = {line: read.families[line][0].reference for line in read.families}
    of_model = {members[0].model: line for line, members in read.families.items()}
    rows["reference"] = rows["line"].map(lambda line: of_model[reference[line]])
    keys = ["point", "other_point"]
    base = rows[["line", *keys, "value"]].rename(columns={"line": "reference", "value": "of_reference"})
    rows = rows.merge(base, on=["reference", *keys])
    shown = rows["line"].isin(list(read.styles)[:MOST_PANELS])  # a row a pair of layers: the table has what is drawn
    return rows.assign(change=rows["value"] - rows["of_reference"])[shown][["line", *keys, "value", "change"]]


@styled
def draw_layers(rows: pd.DataFrame, read: Inputs) -> Figure:
    """The base, and of every other line the difference from its reference."""
    lines = [line for line in read.styles if line in set(rows["line"])]
    columns = min(3, len(lines))
    height = -(-len(lines) // columns)
    figure = sheet(
        0.9 + 2.7 * height, "W2 between all pairs of layers",
        f"{read.sample.capitalize()}, basis {read.params.basis}, mean over tasks and families. Models without reference: W2; others: the change "
        "of W2 from the reference's (red: the two layers lie further apart than there)." + _left_out([line for line in read.families if line not in lines]),
    )  # fmt: skip
    grid = figure.subplots(height, columns, squeeze=False).ravel()
    siblings = rows[rows["line"].isin(set(lines) - set(read.bases))]
    limit = siblings["change"].abs().max() if len(siblings) else 1.0
    for axes, line in zip(grid, lines, strict=False):
        alone, own = line in read.bases, rows[rows["line"] == line]
        points = int(own["other_point"].max()) + 1  # models may differ in depth
        values = _square(own, "value" if alone else "change", points)
        scale = {"cmap": "viridis", "vmin": 0} if alone else {"cmap": "RdBu_r", "vmin": -limit, "vmax": limit}
        drawn = axes.imshow(values, origin="lower", **scale)
        axes.set_title(read.styles[line].label.replace(", ", ",\n") + ("" if alone else "\nchange"))
        for axis in (axes.xaxis, axes.yaxis):
            name_points(axis, points)
        axes.tick_params(axis="x", rotation=90)
        figure.colorbar(drawn, ax=axes, shrink=0.8).outline.set_visible(False)
    for axes in grid[len(lines) :]:
        axes.set_visible(False)
    return figure


def checkpoints_table(read: Inputs) -> pd.DataFrame:
    """W2 of each point between successive states, in their order: line, state, other_state, point, value."""
    rows = read.records
    rows = rows[(rows["kind"] == "checkpoints") & (rows["measure"] == "w2")]
    rows = rows[rows["model"].isin([members[0].model for members in read.families.values()])]  # steps differ by family
    keys = ["line", "state", "other_state", "point"]
    return rows.groupby(keys, sort=False, as_index=False)["value"].mean()


@styled
def draw_checkpoints(rows: pd.DataFrame, read: Inputs) -> Figure:
    """A heatmap for each line: points upwards, successive checkpoints to the right."""
    title = "Where in depth the representation moves along training"
    if rows.empty:
        return nothing(title, NO_CHECKPOINTS)
    positive = rows.loc[rows["value"] > 0, "value"]
    if positive.empty:
        return nothing(title, NO_MOVEMENT)
    found = [line for line in read.styles if line in set(rows["line"])]
    lines, points = found[:MOST_PANELS], int(rows["point"].max()) + 1
    figure = sheet(
        3.6, title,
        f"W2 of each point between successive checkpoints; {read.sample}, basis {read.params.basis}, mean over tasks, first family; "
        "one logarithmic colour scale. Columns are named by the steps between which they lie. No intervals." + read.depths + _left_out(found[MOST_PANELS:]),
    )  # fmt: skip
    norm = LogNorm(max(positive.min(), positive.max() / 1e4), positive.max())
    widths = [rows.loc[rows["line"] == line, "state"].nunique() for line in lines]
    grid = figure.subplots(1, len(lines), sharey=True, squeeze=False, gridspec_kw={"width_ratios": widths})[0]
    for axes, line in zip(grid, lines, strict=True):
        own = rows[rows["line"] == line]
        states = list(dict.fromkeys(zip(own["other_state"], own["state"], strict=True)))
        values = own.pivot(index="point", columns="state", values="value")[[after for _, after in states]]
        drawn = axes.imshow(np.ma.masked_less_equal(values.to_numpy(), 0), origin="lower", aspect="auto", norm=norm)
        names = [f"{_short(before)}→{_short(after)}" for before, after in states]
        axes.set_xticks(range(len(names)), names, rotation=90)
        axes.set_title(textwrap.fill(read.styles[line].label, max(12, TITLE_LETTERS // len(lines))), fontsize=8.5)
    name_points(grid[0].yaxis, points)
    figure.colorbar(drawn, ax=list(grid), aspect=30, pad=0.01, format="{x:g}").outline.set_visible(False)
    return figure


def distances_table(read: Inputs) -> pd.DataFrame:
    """Of the first base: W2 and each of SIMPLE for all pairs of points, a row a pair and task; roots of squares."""
    model = read.families[read.bases[0]][0].model
    rows = read.records
    rows = rows[
        (rows["model"] == model) & (rows["kind"] == "layers") & (rows["state"] == FINAL) & (rows["tokens"] == CONTENT)
        & (rows["basis"] == read.params.basis) & rows["measure"].isin(["w2", *SIMPLE])
    ]  # fmt: skip
    wide = rows.pivot(index=["task", "point", "other_point"], columns="measure", values="value").reset_index()
    return wide.assign(**{name: np.sqrt(wide[name].clip(lower=0)) for name in SQUARES})


@styled
def draw_distances(rows: pd.DataFrame, read: Inputs) -> Figure:
    """A panel for each simple distance, with Spearman's correlation within tasks."""
    figure = sheet(
        4.6, "What transport says beside simpler distances",
        f"All pairs of points of {read.styles[read.bases[0]].label}, content tokens, basis {read.params.basis}; a colour a task. ρ: Spearman, "
        "mean over tasks. Tokens are paired: the identity cost leaves each with itself, and needs no transport.",
    )  # fmt: skip
    colours = dict(
        zip(sorted(rows["task"].unique()), ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#222222") * 9, strict=False)
    )
    legend(figure, [Line2D([], [], color=colours[task], marker="o", linestyle="", markersize=4, label=task)
                    for task in sorted(rows["task"].unique())], columns=5)  # fmt: skip
    for axes, (name, label) in zip(figure.subplots(2, 3).ravel(), SIMPLE.items(), strict=True):
        found = []
        for task, own in rows.groupby("task"):
            axes.scatter(own["w2"], own[name], s=7, color=colours[task], alpha=0.6, linewidths=0)
            found.append(float(spearman(own["w2"].to_numpy(), own[name].to_numpy())))
        axes.set_title(f"{label}: ρ = {np.mean(found):.3f}")
        axes.set_xlabel("W2")
    return figure


def _left_out(lines: Sequence[str]) -> str:
    return f" Not drawn: {', '.join(lines)}." if lines else ""


def _square(rows: pd.DataFrame, column: str, points: int) -> np.ndarray:
    """(points, points), symmetric with a diagonal of 0."""
    values = np.zeros((points, points))
    values[rows["point"], rows["other_point"]] = values[rows["other_point"], rows["point"]] = rows[column]
    return values


def _short(state: str) -> str:
    return {FINAL: "end", UNTRAINED: "random"}.get(state, state.removeprefix("step-"))
