"""Preservation by layer: how much of the reference's subspace each model keeps."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from stages.paradigms.figures.near_one import spread_y
from stages.shared.figure_style import GREY, legend, looks, sheet, styled, whole_ticks

COLUMNS = {
    "value": "same_prompts", "low": "same_prompts_low", "high": "same_prompts_high", "null": "chance",
    "resample_baseline": "resample_baseline", "ceiling": "ceiling", "index": "index", "index_low": "index_low", "index_high": "index_high",
}  # fmt: skip
RANDOM = ("isotropic", "spectrum_preserving")
HATCH = "/////"
NULLS = ["random_update_low", "random_update_high"]


def table(records: pd.DataFrame, points: pd.DataFrame, k: int, site: str) -> pd.DataFrame:
    """Centred preservation of ``k`` directions at ``site``, one row for each model, task and layer.

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
    draws = points[points["kind"].isin(RANDOM) & (points["measure"] == "preservation")]
    keys = ["model", "task", "layer"]
    nulls = draws.groupby(keys)["index"].agg(["min", "max"]).set_axis(NULLS, axis=1)
    rows = rows[["recipe", *keys, *COLUMNS.values()]].join(nulls, on=keys)
    return rows.sort_values(["recipe", *keys], ignore_index=True)


def over_families(rows: pd.DataFrame, quantity: str) -> pd.DataFrame:
    """Mean over the families by layer, with a band: the interval over prompts of one family, the range of several.

    NaN where a layer has no index, so that no line is drawn across it.
    """
    several = rows["model"].nunique() > 1
    low, high = (quantity, quantity) if several else (f"{quantity}_low", f"{quantity}_high")
    band = rows.groupby("layer").agg(mean=(quantity, "mean"), low=(low, "min"), high=(high, "max"))
    return band.reindex(range(band.index.min(), band.index.max() + 1)) if len(band) else band


@styled
def draw(rows: pd.DataFrame, k: int, site: str) -> Figure:
    """A column for each task; above the adjusted index, below the score on the same prompts.

    Of several families, lines are means and bands reach from the lowest family to the highest.
    """
    styles, tasks = looks(rows["recipe"]), sorted(rows["task"].unique())
    several = rows.groupby("recipe")["model"].nunique().max() > 1
    bands = "the range over the families" if several else "the interval over prompts"
    figure = sheet(
        5.9, "How much of the base's geometry each model keeps, by layer",
        f"Preservation of the {k} leading directions (centred, {site}), against the reference. Bands: {bands}.\n"
        "Index: 1 = as like the base as sampling noise allows, 0 = chance; its axis spreads what is near 1. "
        "Hatched: range over\nrandom updates as large as that of the model in the same colour (on fewer prompts); below it, the model keeps less than its size explains.",
    )  # fmt: skip
    grid = figure.subplots(
        2, len(tasks), sharex=True, sharey="row", squeeze=False, gridspec_kw={"height_ratios": [1.25, 1]}
    )
    for column, task in enumerate(tasks):
        here = rows[rows["task"] == task]
        for axes, quantity in zip(grid[:, column], ("index", "same_prompts"), strict=True):
            for recipe, look in styles.items():
                line = over_families(here[here["recipe"] == recipe], quantity)
                # controls are thin and lie above, so that what they cover still shows
                width, alpha, order = (1.3, 0.07, 4) if look.control else (2.2, 0.20, 3)
                axes.plot(
                    line.index,
                    line["mean"],
                    color=look.colour,
                    linestyle=look.dash,
                    linewidth=width,
                    label=recipe,
                    zorder=order,
                )
                axes.fill_between(line.index, line["low"], line["high"], color=look.colour, alpha=alpha, linewidth=0)
            whole_ticks(axes, here["layer"])
        for recipe, look in styles.items():
            _nulls(grid[0, column], here[here["recipe"] == recipe], look.colour)
        _levels(grid[0, column], 1.0, 0.0)
        levels = here.groupby("layer")[["resample_baseline", "chance"]].mean()
        grid[1, column].plot(
            levels.index,
            levels["resample_baseline"],
            color=GREY,
            linewidth=1.2,
            linestyle=(0, (1, 1)),
            label="baseline",
        )
        grid[1, column].plot(levels.index, levels["chance"], color=GREY, linewidth=1.2, label="chance")
        grid[0, column].set_title(task)
        grid[1, column].set_xlabel("layer")
    grid[0, 0].set_ylabel("adjusted index")
    grid[1, 0].set_ylabel("score, same prompts")
    grid[1, 0].set_ylim(0, 1.05)
    lines = [
        Line2D([], [], color=v.colour, linestyle=v.dash, linewidth=1.3 if v.control else 2.2, label=v.label)
        for v in styles.values()
    ]
    lines.append(
        Line2D([], [], color=GREY, linewidth=1.2, linestyle=(0, (1, 1)), label="Base against itself (other prompts)")
    )
    lines.append(Line2D([], [], color=GREY, linewidth=1.2, label="Chance"))
    if rows[NULLS].notna().any(axis=None):
        lines.append(
            Patch(
                facecolor="none", edgecolor=GREY, hatch=HATCH, linewidth=0.6, label="Random updates of a model's size"
            )
        )
    legend(figure, lines)
    return figure


def _nulls(axes, rows: pd.DataFrame, colour: str) -> None:
    """The range over random updates of one model's size; of several families its mean over them."""
    band = rows.groupby("layer")[NULLS].mean().dropna()
    if len(band):
        axes.fill_between(
            band.index, *band.to_numpy().T, facecolor="none", edgecolor=colour, hatch=HATCH, linewidth=0.6, zorder=2,
            label="random updates",
        )  # fmt: skip


def _levels(axes, ceiling: float, chance: float) -> None:
    """On the scale of the index the reference itself is 1 and chance is 0, whatever the task and layer."""
    axes.axhline(ceiling, color=GREY, linewidth=1.2, linestyle=(0, (1, 1)), zorder=1)
    axes.axhline(chance, color=GREY, linewidth=1.2, zorder=1)
    spread_y(axes)
    axes.set_ylim(-0.15, 1.0008)
