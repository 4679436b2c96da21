"""Rank-like measures against the number of prompts: what more prompts would still change."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from stages.shared.figure_style import log_ticks, looks, sheet, styled

# (measure, variant): the title of its panel.
PANELS = {
    ("effective_rank", "centred_singular"): "effective rank (singular)",
    ("participation_ratio", "centred_eigen"): "participation ratio (eigen)",
    ("dimension_twonn", "centred"): "dimension, TwoNN",
    ("dimension_mle", "centred_k20"): "dimension, MLE",
}


def table(rarefaction: pd.DataFrame, site: str) -> pd.DataFrame:
    """Return means over tasks and layers at ``site``: recipe, model, measure, n, value."""
    rows = rarefaction[rarefaction["site"] == site]
    keys = list(zip(rows["measure"], rows["variant"], strict=True))
    rows = rows[[key in PANELS for key in keys]]
    means = rows.groupby(["recipe", "model", "measure", "n"], as_index=False)["value"].mean()
    return means.sort_values(["measure", "recipe", "model", "n"], ignore_index=True)


@styled
def draw(rows: pd.DataFrame, site: str) -> Figure:
    """Draw a panel for each measure; several families are averaged."""
    styles = looks(rows["recipe"])
    panels = [(measure, label) for (measure, _), label in PANELS.items() if measure in set(rows["measure"])]
    figure = sheet(
        3.4,
        "What more prompts would still change",
        f"Mean over tasks and layers ({site}) on all prompts, and on random halves and quarters of them, against their number. "
        "A curve that still rises is a lower bound; the order of the models holds where the curves do not cross.",
    )
    grid = figure.subplots(1, max(1, len(panels)), squeeze=False)[0]
    for axes, (measure, label) in zip(grid, panels, strict=False):
        measure_rows = rows[rows["measure"] == measure]
        for recipe, look in styles.items():
            curve = measure_rows[measure_rows["recipe"] == recipe].groupby("n")["value"].mean()
            width = 1.3 if look.control else 2.2
            axes.plot(
                curve.index,
                curve,
                color=look.colour,
                linestyle=look.dash,
                linewidth=width,
                marker=look.marker,
                markersize=4,
                label=look.label,
            )
        axes.set_xscale("log")
        log_ticks(axes.xaxis)
        axes.set_xticks(sorted(set(measure_rows["n"])), [str(n) for n in sorted(set(measure_rows["n"]))])
        axes.set_title(label)
        axes.set_xlabel("prompts")
    handles, names = grid[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=5, handlelength=2.6, columnspacing=1.6)
    return figure
