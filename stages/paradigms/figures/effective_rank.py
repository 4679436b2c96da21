"""Effective rank, model by layer: does post-training spread the activations over more directions?"""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.figure import Figure

from stages.shared.figure_style import looks, sheet, styled

VARIANT = "centred_singular"
# Number of layers up to which a cell has room for its number.
WIDEST = 12
# Steps of the colour scale; few, so that they survive the palette of the file.
LEVELS = 15


def table(records: pd.DataFrame, site: str) -> pd.DataFrame:
    """Return the effective rank at ``site``, one row for each model, task and layer; `change` is relative to the reference's."""
    chosen = (records["measure"] == "effective_rank") & (records["variant"] == VARIANT) & (records["site"] == site)
    rows = records[chosen & (records["missing"] == "")]
    keys = ["model", "task", "layer"]
    reference = rows[[*keys, "value"]].rename(columns={"model": "reference", "value": "of_reference"})
    rows = rows.merge(reference, on=["reference", "task", "layer"], how="left").rename(
        columns={"value": "effective_rank", "null": "noise"}
    )
    rows["change"] = rows["effective_rank"] / rows["of_reference"] - 1
    columns = ["recipe", *keys, "effective_rank", "low", "high", "noise", "resample_baseline", "change"]
    return rows[columns].sort_values(["recipe", *keys], ignore_index=True)


@styled
def draw(rows: pd.DataFrame, site: str) -> Figure:
    """Draw a panel for each task: the number is the effective rank, the colour its change against the reference.

    Several families are averaged.
    """
    styles, tasks = looks(rows["recipe"]), sorted(rows["task"].unique())
    layers = sorted(rows["layer"].unique())
    complete = len(rows) == len(layers) * rows[["model", "task"]].drop_duplicates().shape[0]
    absent = "" if complete else " –: missing, for the reason in the records."
    figure = sheet(
        1.25 + 0.27 * (len(styles) + 1),
        "Effective rank of each model's activations, by layer",
        f"Numbers: effective rank (centred, singular values, {site}). Colours: change against the base.{absent}",
    )
    panels = figure.subplots(1, len(tasks), sharey=True, squeeze=False)[0]
    limit = max(0.05, np.ceil(20 * rows["change"].abs().max()) / 20)
    for axes, task in zip(panels, tasks, strict=True):
        task_rows = rows[rows["task"] == task]
        rank, change = (
            task_rows.pivot_table(index="recipe", columns="layer", values=quantity).reindex(
                index=list(styles), columns=layers
            )
            for quantity in ("effective_rank", "change")
        )  # each (recipes, layers)
        colours = colormaps["RdBu_r"].resampled(LEVELS)
        image = axes.pcolormesh(
            change.to_numpy(), cmap=colours, vmin=-limit, vmax=limit, edgecolors="white", linewidth=0.8
        )
        if len(layers) <= WIDEST:
            for (y, x), value in np.ndenumerate(rank.to_numpy()):
                dark = abs(change.iat[y, x]) > 0.55 * limit
                text = "–" if np.isnan(value) else f"{value:.1f}" if value < 100 else f"{value:.0f}"
                axes.text(
                    x + 0.5, y + 0.5, text, ha="center", va="center", fontsize=7, color="white" if dark else "#222222"
                )
        noise = task_rows["noise"].mean()
        axes.set_title(f"{task} (pure noise: {noise:.3g})")
        axes.set_xticks(np.arange(len(layers))[:: -(-len(layers) // 10)] + 0.5, layers[:: -(-len(layers) // 10)])
        axes.set_xlabel("layer")
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
    panels[0].set_yticks(np.arange(len(styles)) + 0.5, [look.label for look in styles.values()])
    panels[0].invert_yaxis()
    bar = figure.colorbar(image, ax=list(panels), aspect=18, pad=0.015, format=_percent)
    bar.outline.set_visible(False)
    return figure


def _percent(share: float, _: int) -> str:
    return f"{100 * share:+.0f} %".replace("+0 ", "0 ").replace("-", "−")
