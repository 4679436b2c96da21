"""Eigenvalue spectra of the activations at the first, the middle and the last layer."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from stages.shared.figure_style import GREY, legend, log_ticks, looks, sheet, styled

# Number of ranks of a spectrum in the table, about evenly spaced on a log axis.
POINTS = 16


def table(spectra: pd.DataFrame, site: str) -> pd.DataFrame:
    """Return the share of the variance by rank (centred) at three layers, averaged over the families; `noise` is isotropic.

    ``spectra``: spectrum tables of all models with the columns `recipe` and `model`. Each model has its three.
    """
    rows = spectra[(spectra["variant"] == "centred") & (spectra["site"] == site)].copy()
    groups = rows.groupby(["model", "task", "layer"])["eigenvalue"]
    total = groups.transform("sum")
    rows["share"], rows["noise"] = rows["eigenvalue"] / total, rows["noise"] / total
    depth = rows.groupby(["model", "task"])["layer"]
    first, last = depth.transform("min"), depth.transform("max")
    rows["depth"] = np.select(
        [rows["layer"] == first, rows["layer"] == last, rows["layer"] == (first + last) // 2],
        ["first", "last", "middle"],
        "",
    )
    ranks = set(np.unique(np.geomspace(1, max(2, rows["rank"].max()), POINTS).round().astype(int)).tolist())
    rows = rows[(rows["depth"] != "") & rows["rank"].isin(ranks)]
    keys = ["recipe", "task", "layer", "depth", "rank"]
    return rows.groupby(keys, as_index=False)[["share", "noise"]].mean().sort_values(keys, ignore_index=True)


@styled
def draw(rows: pd.DataFrame, site: str) -> Figure:
    """Draw a column for each task, a row for each depth; both axes logarithmic. Families are averaged in the table."""
    styles, tasks = looks(rows["recipe"]), sorted(rows["task"].unique())
    depths = [depth for depth in ("first", "middle", "last") if depth in set(rows["depth"])]
    figure = sheet(
        1.5 + 1.75 * len(depths),
        "Eigenvalue spectra: how fast variance falls over directions",
        f"Share of the variance of each principal direction (centred, {site}). A flatter line spreads over more directions.",
    )
    grid = figure.subplots(len(depths), len(tasks), sharex=True, sharey="row", squeeze=False)
    for i, depth in enumerate(depths):
        for j, task in enumerate(tasks):
            axes, panel = grid[i, j], rows[(rows["depth"] == depth) & (rows["task"] == task)]
            for recipe, look in styles.items():
                spectrum = panel[panel["recipe"] == recipe]
                axes.plot(
                    spectrum["rank"],
                    spectrum["share"],
                    color=look.colour,
                    linestyle=look.dash,
                    linewidth=1.1 if look.control else 1.8,
                    label=recipe,
                )
            noise = panel.groupby("rank")["noise"].mean()
            axes.plot(noise.index, noise, color=GREY, linewidth=1.1, linestyle=(0, (1, 1)), label="noise")
            axes.set(xscale="log", yscale="log")
            axes.minorticks_off()
            log_ticks(axes.xaxis)
            if i == 0:
                axes.set_title(task)
        layers = sorted(rows.loc[rows["depth"] == depth, "layer"].unique())
        grid[i, 0].set_ylabel(f"{depth} layer ({', '.join(map(str, layers))})\nshare of variance")
    for axes in grid[-1]:
        axes.set_xlabel("rank of the direction")
    handles = [
        Line2D([], [], color=v.colour, linestyle=v.dash, linewidth=1.1 if v.control else 1.8, label=v.label)
        for v in styles.values()
    ]
    legend(
        figure, [*handles, Line2D([], [], color=GREY, linewidth=1.1, linestyle=(0, (1, 1)), label="Isotropic noise")], 5
    )
    return figure
