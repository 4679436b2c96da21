"""Preservation by layer: how much of the reference's subspace each model keeps."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from stages.figures.style import GREY, legend, looks, sheet, styled, whole_ticks

COLUMNS = {
    "value": "same_prompts", "low": "same_prompts_low", "high": "same_prompts_high", "null": "chance",
    "resample_baseline": "resample_baseline", "ceiling": "ceiling", "index": "index", "index_low": "index_low", "index_high": "index_high",
}  # fmt: skip


def table(records: pd.DataFrame, k: int, site: str) -> pd.DataFrame:
    """Centred preservation of ``k`` directions at ``site``, one row for each model, task and layer.

    ``records``: record tables of all models with a column `recipe`. A model that is its own reference is left out.
    """
    chosen = (
        (records["measure"] == "preservation") & (records["variant"] == f"centred_k{k}") & (records["site"] == site)
    )
    rows = records[chosen & (records["model"] != records["reference"]) & (records["missing"] == "")].rename(
        columns=COLUMNS
    )
    return rows[["recipe", "model", "task", "layer", *COLUMNS.values()]].sort_values(
        ["recipe", "model", "task", "layer"], ignore_index=True
    )


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
        "Index: 1 = as like the base as sampling noise allows, 0 = chance.",
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
                width, alpha, order = (1.3, 0.10, 4) if look.control else (2.2, 0.20, 3)
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
    legend(figure, lines)
    return figure


def _levels(axes, ceiling: float, chance: float) -> None:
    """On the scale of the index the reference itself is 1 and chance is 0, whatever the task and layer."""
    axes.axhline(ceiling, color=GREY, linewidth=1.2, linestyle=(0, (1, 1)), zorder=1)
    axes.axhline(chance, color=GREY, linewidth=1.2, zorder=1)
    axes.set_ylim(-0.08, max(1.12, axes.get_ylim()[1]))
