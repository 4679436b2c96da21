"""Scores between a model and its reference on one scale: 1 as like as the noise ceiling allows, 0 chance."""

from __future__ import annotations

import textwrap

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.figure import Figure

from stages.shared.figure_style import looks, nothing, sheet, styled

TITLE = "Every score against the base, between chance and its ceiling"
LABELS = {
    "preservation": "preservation",
    "projection_overlap": "projection overlap",
    "grassmann_distance": "Grassmann distance",
    "captured_variance": "captured variance",
    "cka": "CKA, linear",
    "rbf_cka": "CKA, Gaussian",
    "rsa": "RSA",
    "mutual_neighbours": "mutual neighbours",
    "svcca": "SVCCA",
    "linear_predictivity": "predictivity",
    "procrustes_distance": "Procrustes distance",
    "angular_shape_distance": "angular shape distance",
}
OF_SUBSPACES = ("preservation", "projection_overlap", "grassmann_distance", "captured_variance")
SIDES = ("of reference", "of model", "from reference", "from model")
# Steps of the colour scale; few, so that they survive the palette of the file.
LEVELS = 15


def table(records: pd.DataFrame, k: int, site: str, prompt_end: str) -> pd.DataFrame:
    """Return the mean index over tasks and layers at ``site``: score, recipe, model, index, cells.

    Measures of subspaces have the centred variants of ``k`` directions, the others all centred ones. Preservation is
    also told at positions other than ``prompt_end``.
    """
    rows = records[(records["site"] == site) & records["measure"].isin(LABELS) & records["index"].notna()]
    rows = rows[(rows["model"] != rows["reference"]) & ~rows["variant"].str.startswith("raw")]
    elsewhere = rows["aggregation"] != prompt_end
    other_k = rows["measure"].isin(OF_SUBSPACES) & ~rows["variant"].str.endswith(f"_k{k}")
    rows = rows[~other_k & (~elsewhere | (rows["measure"] == "preservation"))]
    scores = [
        _label(*key, prompt_end) for key in zip(rows["measure"], rows["variant"], rows["aggregation"], strict=True)
    ]
    order = rows["measure"].map({measure: i for i, measure in enumerate(LABELS)}) + 0.5 * (
        rows["aggregation"] != prompt_end
    )
    keys = ["order", "score", "recipe", "model"]
    means = rows.assign(score=scores, order=order).groupby(keys)["index"].agg(index="mean", cells="size")
    return means.reset_index().drop(columns="order")


def _label(measure: str, variant: str, aggregation: str, prompt_end: str) -> str:
    """Return a score in words: whose variance or prediction it is, and its position if that is not the prompt's end."""
    side = next((f" {words}" for words in SIDES if words.replace(" ", "_") in variant), "")
    position = "" if aggregation == prompt_end else f", {aggregation.replace('_', ' ')}"
    return LABELS[measure] + side + position


@styled
def draw(rows: pd.DataFrame, k: int, site: str) -> Figure:
    """Draw a row for each score, a column for each recipe; several families are averaged."""
    if rows.empty:
        return nothing(TITLE, "No model of this study differs from its reference.")
    styles, scores = looks(rows["recipe"]), list(dict.fromkeys(rows["score"]))
    values = rows.pivot_table(index="score", columns="recipe", values="index").reindex(
        index=scores, columns=list(styles)
    )
    figure = sheet(
        1.5 + 0.24 * len(scores),
        TITLE,
        f"Adjusted index, mean over tasks and layers ({site}); subspaces of {k} directions. 1: as like the base as sampling noise "
        "allows, or equal; 0: no more than chance. Distances are turned the same way.",
    )
    axes = figure.subplots()
    low = min(0.5, np.floor(10 * np.nanmin(values.to_numpy())) / 10)
    image = axes.pcolormesh(
        values.to_numpy(),
        cmap=colormaps["YlGnBu"].resampled(LEVELS),
        vmin=low,
        vmax=1,
        edgecolors="white",
        linewidth=0.8,
    )
    for (y, x), value in np.ndenumerate(values.to_numpy()):
        text = "–" if np.isnan(value) else f"{value:.3f}"
        dark = value > (low + 1) / 2
        axes.text(x + 0.5, y + 0.5, text, ha="center", va="center", fontsize=7.5, color="white" if dark else "#222222")
    labels = [textwrap.fill(look.label, 13) for look in styles.values()]
    axes.set_xticks(np.arange(len(styles)) + 0.5, labels, fontsize=7.5)
    axes.set_yticks(np.arange(len(scores)) + 0.5, scores)
    axes.xaxis.tick_top()
    axes.invert_yaxis()
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    figure.colorbar(image, ax=axes, aspect=25, pad=0.015).outline.set_visible(False)
    return figure
