"""Updates of the weights: how far each model moved, and in how many directions, by layer and by kind of tensor."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from stages.shared.figure_style import GREY, PALE, legend, log_ticks, looks, nothing, sheet, styled, whole_ticks, widths

TITLE = "How far the weights moved from the base, and in how many directions"
QUANTITIES = {
    "relative_update_norm": "‖update‖ / ‖weight‖",
    "effective_rank_over_null": "effective rank of the update\n/ that of isotropic noise",
}
IN_BLOCKS = "layer"


def table(records: pd.DataFrame) -> pd.DataFrame:
    """Return one row for each model and layer, and for each model and kind of tensor, in the order of the model.

    ``records``: the tables `weights` of all models with a column `recipe`; models without an update are left out.
    Norms are those of all tensors of the group together; of ranks the mean over matrices, each over its null.
    """
    keys = ["recipe", "model", "layer", "kind", "tensor"]
    rows = records[records["missing"] == ""].set_index(keys)
    base, update, ranks = (
        rows[rows["measure"] == measure] for measure in ("base_norm", "update_norm", "update_effective_rank")
    )
    squares = {"base": base["value"] ** 2, "update": update["value"] ** 2}
    tensors = pd.DataFrame({**squares, "rank": ranks["value"] / ranks["null"]})
    tensors = tensors.reindex(base.index).reset_index()
    parts = [
        _grouped(tensors[tensors["layer"] >= 0], IN_BLOCKS),
        _grouped(tensors, "kind"),
    ]
    return pd.concat(parts, ignore_index=True).sort_values(["recipe", "model", "by"], ignore_index=True, kind="stable")


def _grouped(tensors: pd.DataFrame, column: str) -> pd.DataFrame:
    groups = tensors.groupby(["recipe", "model", column], sort=False)
    sums = groups[["base", "update"]].sum()
    means = pd.DataFrame(
        {
            "relative_update_norm": np.sqrt(sums["update"] / sums["base"]),
            "effective_rank_over_null": groups["rank"].mean(),
        }
    )
    means = means.reset_index().rename(columns={column: "place"})
    return means.assign(by=column, place=means["place"].astype(str))[["recipe", "model", "by", "place", *QUANTITIES]]


@styled
def draw(rows: pd.DataFrame) -> Figure:
    """Draw layers left, kinds of tensor right; how far above, in how many directions below. Families are averaged."""
    if rows.empty:
        return nothing(TITLE, "No model of this study has an update that could be measured; the records say why.")
    styles = looks(rows["recipe"])
    width = widths(styles)
    aside = dict(zip(styles, np.linspace(-0.3, 0.3, len(styles)), strict=True))
    figure = sheet(
        6.0,
        TITLE,
        "Above: all tensors of a layer or kind together. Below: mean over matrices; 1 is noise without structure of the same "
        "shape; vectors have no rank.",
    )
    grid = figure.subplots(2, 2, sharex="col", sharey="row", width_ratios=(1, 1.45))
    for column, grouping in enumerate((IN_BLOCKS, "kind")):
        grouped = rows[rows["by"] == grouping]
        groups = list(dict.fromkeys(grouped["place"]))
        for axes, quantity in zip(grid[:, column], QUANTITIES, strict=True):
            for recipe, look in styles.items():
                means = grouped[grouped["recipe"] == recipe].groupby("place")[quantity].mean().reindex(groups)
                # side by side where no line tells them apart
                x = np.arange(len(groups)) + (0 if grouping == IN_BLOCKS else aside[recipe])
                axes.plot(
                    x,
                    means,
                    color=look.colour,
                    marker=look.marker,
                    markersize=3.5 if look.control else 4.5,
                    linestyle=look.dash if grouping == IN_BLOCKS else "none",
                    linewidth=width[recipe],
                    label=recipe,
                )
        if grouping == IN_BLOCKS:
            whole_ticks(grid[1, column], range(len(groups)))
            grid[1, column].set_xlabel("layer")
        else:
            labels = [kind.rpartition(".")[2].replace("layernorm", "norm") for kind in groups]
            grid[1, column].set_xticks(range(len(groups)), labels, rotation=45, ha="right")
            for axes in grid[:, column]:
                axes.grid(axis="x", color=PALE)
        grid[1, column].axhline(1, color=GREY, linewidth=1.0, zorder=1)
    grid[0, 0].set_yscale("log")
    log_ticks(grid[0, 0].yaxis)
    for axes, label in zip(grid[:, 0], QUANTITIES.values(), strict=True):
        axes.set_ylabel(label)
    handles = [
        Line2D(
            [],
            [],
            color=v.colour,
            linestyle=v.dash,
            marker=v.marker,
            markersize=4.5,
            linewidth=width[recipe],
            label=v.label,
        )
        for recipe, v in styles.items()
    ]
    legend(figure, [*handles, Line2D([], [], color=GREY, linewidth=1.0, label="Isotropic noise")])
    return figure
