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
from stages.drift.figures.inputs import DriftInputs, headline, name_depths
from stages.drift.sample_files import FINAL, UNTRAINED
from stages.shared.figure_style import legend, nothing, sheet, styled
from stages.statistics.rank_correlation import spearman

MOST_PANELS = 6
# Letters of the titles of one row of panels together.
TITLE_LETTERS = 84
# Distances that are compared with W2, and their titles.
SIMPLE_DISTANCES = {
    "identity_cost": "√ identity cost",
    "sinkhorn_divergence": "√ Sinkhorn divergence",
    "bures_w2": "Gaussian W2",
    "sliced_w2": "sliced W2",
    "all_euclidean": "mean Euclidean, all pairs",
    "all_cosine": "mean cosine, all pairs",
}
SQUARED_DISTANCES = ("identity_cost", "sinkhorn_divergence")
TASK_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#222222")
NO_MOVEMENT = "Nothing moved between the checkpoints."
NO_CHECKPOINTS = "No model has checkpoints: organisms do, and the runs named in drift.runs."


def layers_table(inputs: DriftInputs) -> pd.DataFrame:
    """Return W2 between all pairs of depths, and its change from the reference's: line, point, other_point, value, change."""
    pair = ["point", "other_point"]
    rows = headline(inputs, "layers").groupby(["line", *pair], sort=False, as_index=False)["value"].mean()
    recipe_of_model = {members[0].model: recipe for recipe, members in inputs.recipes.items()}
    references = {recipe: recipe_of_model[members[0].reference] for recipe, members in inputs.recipes.items()}
    rows["reference"] = rows["line"].map(references)
    reference_rows = rows[["line", *pair, "value"]].rename(columns={"line": "reference", "value": "reference_value"})
    rows = rows.merge(reference_rows, on=["reference", *pair])
    drawn = rows["line"].isin(list(inputs.styles)[:MOST_PANELS])  # a row a pair of layers: the table has what is drawn
    return rows.assign(change=rows["value"] - rows["reference_value"])[drawn][["line", *pair, "value", "change"]]


@styled
def draw_layers(rows: pd.DataFrame, inputs: DriftInputs) -> Figure:
    """Draw W2 of the base, and of every other recipe the change from its reference."""
    recipes = [recipe for recipe in inputs.styles if recipe in set(rows["line"])]
    columns = min(3, len(recipes))
    height = -(-len(recipes) // columns)
    figure = sheet(
        0.9 + 2.7 * height,
        "W2 between all pairs of layers",
        f"{inputs.sample.capitalize()}, basis {inputs.params.basis}, mean over tasks and families. Models without "
        "reference: W2; others: the change of W2 from the reference's (red: the two layers lie further apart than there)."
        + _left_out([recipe for recipe in inputs.recipes if recipe not in recipes]),
    )
    grid = figure.subplots(height, columns, squeeze=False).ravel()
    siblings = rows[rows["line"].isin(set(recipes) - set(inputs.bases))]
    limit = siblings["change"].abs().max() if len(siblings) else 1.0
    for axes, recipe in zip(grid, recipes, strict=False):
        is_base, pairs = recipe in inputs.bases, rows[rows["line"] == recipe]
        depths = int(pairs["other_point"].max()) + 1  # models may differ in depth
        values = _square(pairs, "value" if is_base else "change", depths)
        scale = {"cmap": "viridis", "vmin": 0} if is_base else {"cmap": "RdBu_r", "vmin": -limit, "vmax": limit}
        image = axes.imshow(values, origin="lower", **scale)
        axes.set_title(inputs.styles[recipe].label.replace(", ", ",\n") + ("" if is_base else "\nchange"))
        for axis in (axes.xaxis, axes.yaxis):
            name_depths(axis, depths)
        axes.tick_params(axis="x", rotation=90)
        figure.colorbar(image, ax=axes, shrink=0.8).outline.set_visible(False)
    for axes in grid[len(recipes) :]:
        axes.set_visible(False)
    return figure


def checkpoints_table(inputs: DriftInputs) -> pd.DataFrame:
    """Return W2 of each depth between successive states, in their order: line, state, other_state, point, value."""
    rows = inputs.records
    rows = rows[(rows["kind"] == "checkpoints") & (rows["measure"] == "w2")]
    first_family = [members[0].model for members in inputs.recipes.values()]  # steps differ by family
    rows = rows[rows["model"].isin(first_family)]
    columns = ["line", "state", "other_state", "point"]
    return rows.groupby(columns, sort=False, as_index=False)["value"].mean()


@styled
def draw_checkpoints(rows: pd.DataFrame, inputs: DriftInputs) -> Figure:
    """Draw a heatmap for each recipe: depths upwards, successive checkpoints to the right."""
    title = "Where in depth the representation moves along training"
    if rows.empty:
        return nothing(title, NO_CHECKPOINTS)
    positive = rows.loc[rows["value"] > 0, "value"]
    if positive.empty:
        return nothing(title, NO_MOVEMENT)
    present = [recipe for recipe in inputs.styles if recipe in set(rows["line"])]
    recipes, depths = present[:MOST_PANELS], int(rows["point"].max()) + 1
    figure = sheet(
        3.6,
        title,
        f"W2 of each point between successive checkpoints; {inputs.sample}, basis {inputs.params.basis}, mean over tasks, "
        "first family; one logarithmic colour scale. Columns are named by the steps between which they lie. No intervals."
        + inputs.depths
        + _left_out(present[MOST_PANELS:]),
    )
    norm = LogNorm(max(positive.min(), positive.max() / 1e4), positive.max())
    ratios = {"width_ratios": [rows.loc[rows["line"] == recipe, "state"].nunique() for recipe in recipes]}
    grid = figure.subplots(1, len(recipes), sharey=True, squeeze=False, gridspec_kw=ratios)[0]
    for axes, recipe in zip(grid, recipes, strict=True):
        steps = rows[rows["line"] == recipe]
        states = dict(zip(steps["state"], steps["other_state"], strict=True))  # state: the one before it
        values = steps.pivot(index="point", columns="state", values="value")[list(states)]
        image = axes.imshow(np.ma.masked_less_equal(values.to_numpy(), 0), origin="lower", aspect="auto", norm=norm)
        names = [f"{_short_name(previous)}→{_short_name(state)}" for state, previous in states.items()]
        axes.set_xticks(range(len(names)), names, rotation=90)
        title_width = max(12, TITLE_LETTERS // len(recipes))
        axes.set_title(textwrap.fill(inputs.styles[recipe].label, title_width), fontsize=8.5)
    name_depths(grid[0].yaxis, depths)
    figure.colorbar(image, ax=list(grid), aspect=30, pad=0.01, format="{x:g}").outline.set_visible(False)
    return figure


def distances_table(inputs: DriftInputs) -> pd.DataFrame:
    """Return W2 and each of `SIMPLE_DISTANCES` of the first base, a row a pair of depths and task; roots of squares."""
    model = inputs.recipes[inputs.bases[0]][0].model
    rows = inputs.records
    rows = rows[(rows["model"] == model) & (rows["kind"] == "layers") & (rows["state"] == FINAL)]
    rows = rows[(rows["tokens"] == CONTENT) & (rows["basis"] == inputs.params.basis)]
    rows = rows[rows["measure"].isin(["w2", *SIMPLE_DISTANCES])]
    wide = rows.pivot(index=["task", "point", "other_point"], columns="measure", values="value").reset_index()
    return wide.assign(**{name: np.sqrt(wide[name].clip(lower=0)) for name in SQUARED_DISTANCES})


@styled
def draw_distances(rows: pd.DataFrame, inputs: DriftInputs) -> Figure:
    """Draw a panel for each simple distance, with Spearman's correlation within tasks."""
    figure = sheet(
        4.6,
        "What transport says beside simpler distances",
        f"All pairs of points of {inputs.styles[inputs.bases[0]].label}, content tokens, basis {inputs.params.basis}; a "
        "colour a task. ρ: Spearman, mean over tasks. Tokens are paired: the identity cost leaves each with itself, and "
        "needs no transport.",
    )
    colours = dict(zip(sorted(rows["task"].unique()), TASK_COLOURS * 9, strict=False))
    handles = [
        Line2D([], [], color=colour, marker="o", linestyle="", markersize=4, label=task)
        for task, colour in colours.items()
    ]
    legend(figure, handles, columns=5)
    for axes, (name, label) in zip(figure.subplots(2, 3).ravel(), SIMPLE_DISTANCES.items(), strict=True):
        correlations = []
        for task, pairs in rows.groupby("task"):
            axes.scatter(pairs["w2"], pairs[name], s=7, color=colours[task], alpha=0.6, linewidths=0)
            correlations.append(float(spearman(pairs["w2"].to_numpy(), pairs[name].to_numpy())))
        axes.set_title(f"{label}: ρ = {np.mean(correlations):.3f}")
        axes.set_xlabel("W2")
    return figure


def _left_out(recipes: Sequence[str]) -> str:
    return f" Not drawn: {', '.join(recipes)}." if recipes else ""


def _square(pairs: pd.DataFrame, column: str, depths: int) -> np.ndarray:
    """Return the values (depths, depths) of ``pairs``, symmetric with a diagonal of 0."""
    values = np.zeros((depths, depths))
    values[pairs["point"], pairs["other_point"]] = values[pairs["other_point"], pairs["point"]] = pairs[column]
    return values


def _short_name(state: str) -> str:
    return {FINAL: "end", UNTRAINED: "random"}.get(state, state.removeprefix("step-"))
