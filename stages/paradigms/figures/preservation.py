"""Preservation by layer: how much of the reference's subspace each model keeps."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from stages.paradigms.figures.families import family_band
from stages.paradigms.figures.near_one import spread_y
from stages.paradigms.tables import RANDOM_KINDS
from stages.shared.figure_style import GREY, Look, legend, looks, sheet, styled, whole_ticks

COLUMNS = {
    "value": "same_prompts", "low": "same_prompts_low", "high": "same_prompts_high", "null": "chance",
    "resample_baseline": "resample_baseline", "ceiling": "ceiling", "index": "index", "index_low": "index_low", "index_high": "index_high",
}  # fmt: skip
HATCH = "/////"
NULLS = ["random_update_low", "random_update_high"]


def table(records: pd.DataFrame, points: pd.DataFrame, k: int, site: str) -> pd.DataFrame:
    """Return the centred preservation of ``k`` directions at ``site``, one row for each model, task and layer.

    ``records``: record tables of all models with a column `recipe`. A model that is its own reference is left out.
    ``points``: tables of perturbed models with a column `model`; the range of the index over random updates of a
    model's size, NaN where there are none.
    """
    chosen = (
        (records["measure"] == "preservation") & (records["variant"] == f"centred_k{k}") & (records["site"] == site)
    )
    rows = records[chosen & (records["model"] != records["reference"]) & (records["missing"] == "")].rename(
        columns=COLUMNS
    )
    draws = points[points["kind"].isin(RANDOM_KINDS) & (points["measure"] == "preservation")]
    keys = ["model", "task", "layer"]
    nulls = draws.groupby(keys)["index"].agg(["min", "max"]).set_axis(NULLS, axis=1)
    rows = rows[["recipe", *keys, *COLUMNS.values()]].join(nulls, on=keys)
    return rows.sort_values(["recipe", *keys], ignore_index=True)


@styled
def draw(rows: pd.DataFrame, k: int, site: str) -> Figure:
    """Draw a column for each task; above the adjusted index, below the score on the same prompts.

    With several families, lines are means and bands reach from the lowest family to the highest.
    """
    styles, tasks = looks(rows["recipe"]), sorted(rows["task"].unique())
    several = rows.groupby("recipe")["model"].nunique().max() > 1
    bands = "the range over the families" if several else "the interval over prompts"
    figure = sheet(
        5.9,
        "How much of the base's geometry each model keeps, by layer",
        f"Preservation of the {k} leading directions (centred, {site}), against the reference. Bands: {bands}.\n"
        "Index: 1 = as like the base as sampling noise allows, 0 = chance; its axis spreads what is near 1. "
        "Hatched: range over\nrandom updates as large as that of the model in the same colour (on fewer prompts); below it, the model keeps less than its size explains.",
    )
    grid = figure.subplots(
        2, len(tasks), sharex=True, sharey="row", squeeze=False, gridspec_kw={"height_ratios": [1.25, 1]}
    )
    for column, task in enumerate(tasks):
        _draw_task(grid[:, column], rows[rows["task"] == task], styles)
        grid[0, column].set_title(task)
    grid[0, 0].set_ylabel("adjusted index")
    grid[1, 0].set_ylabel("score, same prompts")
    grid[1, 0].set_ylim(0, 1.05)
    handles = [
        Line2D([], [], color=v.colour, linestyle=v.dash, linewidth=1.3 if v.control else 2.2, label=v.label)
        for v in styles.values()
    ]
    handles.append(
        Line2D([], [], color=GREY, linewidth=1.2, linestyle=(0, (1, 1)), label="Base against itself (other prompts)")
    )
    handles.append(Line2D([], [], color=GREY, linewidth=1.2, label="Chance"))
    if rows[NULLS].notna().any(axis=None):
        handles.append(
            Patch(
                facecolor="none", edgecolor=GREY, hatch=HATCH, linewidth=0.6, label="Random updates of a model's size"
            )
        )
    legend(figure, handles)
    return figure


def _draw_task(panels, rows: pd.DataFrame, styles: dict[str, Look]) -> None:
    """Draw the index of one task in the first panel, and its score on the same prompts in the second."""
    for axes, quantity in zip(panels, ("index", "same_prompts"), strict=True):
        for recipe, look in styles.items():
            recipe_rows = rows[rows["recipe"] == recipe]
            band = family_band(recipe_rows, quantity, recipe_rows["model"].nunique() > 1)
            # controls are thin and lie above, so that what they cover still shows
            width, alpha, order = (1.3, 0.07, 4) if look.control else (2.2, 0.20, 3)
            axes.plot(
                band.index,
                band["mean"],
                color=look.colour,
                linestyle=look.dash,
                linewidth=width,
                label=recipe,
                zorder=order,
            )
            axes.fill_between(band.index, band["low"], band["high"], color=look.colour, alpha=alpha, linewidth=0)
        whole_ticks(axes, rows["layer"])
    index_axes, score_axes = panels
    for recipe, look in styles.items():
        _draw_nulls(index_axes, rows[rows["recipe"] == recipe], look.colour)
    _draw_levels(index_axes, 1.0, 0.0)
    levels = rows.groupby("layer")[["resample_baseline", "chance"]].mean()
    score_axes.plot(
        levels.index,
        levels["resample_baseline"],
        color=GREY,
        linewidth=1.2,
        linestyle=(0, (1, 1)),
        label="baseline",
    )
    score_axes.plot(levels.index, levels["chance"], color=GREY, linewidth=1.2, label="chance")
    score_axes.set_xlabel("layer")


def _draw_nulls(axes, rows: pd.DataFrame, colour: str) -> None:
    """Draw the range over random updates of one model's size; of several families the mean of their ranges."""
    band = rows.groupby("layer")[NULLS].mean().dropna()
    if len(band):
        axes.fill_between(
            band.index,
            *band.to_numpy().T,
            facecolor="none",
            edgecolor=colour,
            hatch=HATCH,
            linewidth=0.6,
            zorder=2,
            label="random updates",
        )


def _draw_levels(axes, ceiling: float, chance: float) -> None:
    """Draw the levels of the index, on whose scale the reference itself is 1 and chance is 0, whatever task and layer."""
    axes.axhline(ceiling, color=GREY, linewidth=1.2, linestyle=(0, (1, 1)), zorder=1)
    axes.axhline(chance, color=GREY, linewidth=1.2, zorder=1)
    spread_y(axes)
    axes.set_ylim(-0.15, 1.0008)
