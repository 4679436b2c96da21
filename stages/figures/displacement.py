"""Preservation against how far the weights and the predictions moved from the base."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from stages.figures.labels import label_points
from stages.figures.style import GREY, log_ticks, looks, nothing, sheet, styled
from stages.statistics.half_sampling import interval, standard_error

TITLE = "Preservation against distance from the base"
MEASURED = {
    "displacement": "relative displacement of the weights, ‖ΔW‖ / ‖W‖",
    "kl": "KL(model ‖ base), nats per token",
}
COLUMNS = ["recipe", "model", "displacement", "kl", "index", "index_low", "index_high"]


def table(
    records: pd.DataFrame, replicates: pd.DataFrame, distances: pd.DataFrame, k: int, site: str, confidence: float
) -> pd.DataFrame:
    """Index of centred preservation, mean over tasks and layers, of every trained sibling, beside its distances.

    ``distances`` has the columns model, displacement and kl. The interval is over prompts: the mean over tasks and
    layers is taken inside each half-sample (``replicates``, with the column `model`). A layer without an index, on all
    prompts or on any half, is left out of both.
    """
    variant = f"centred_k{k}"
    rows = _at(records, variant, site)
    halves = _at(replicates, variant, site)
    halves = halves[halves["quantity"] == "index"]
    found = []
    for (recipe, model), group in rows.groupby(["recipe", "model"]):
        distance = distances.loc[distances["model"] == model, ["displacement", "kl"]]
        cells = (
            halves[halves["model"] == model]
            .pivot(index=["task", "layer"], columns="replicate", values="value")
            .dropna()
        )
        values = group.set_index(["task", "layer"])["index"].dropna()
        if len(cells):
            values = values[values.index.isin(cells.index)]
        if distance.empty or values.empty:
            continue
        low = high = np.nan
        if len(cells):
            error = standard_error(cells.loc[values.index].mean().to_numpy(), int(group["n"].min()))
            low, high = interval(values.mean(), error, confidence)
        found.append([recipe, model, *distance.iloc[0], values.mean(), low, high])
    return pd.DataFrame(found, columns=COLUMNS).sort_values(["recipe", "model"], ignore_index=True)


def _at(rows: pd.DataFrame, variant: str, site: str) -> pd.DataFrame:
    return rows[(rows["measure"] == "preservation") & (rows["variant"] == variant) & (rows["site"] == site)]


def distances(trained: dict[str, dict]) -> pd.DataFrame:
    """Displacement and KL divergence from the base, from the training metrics of each organism; a base has none."""
    rows = [
        (model, m["displacement_from_base"], m["kl_from_base"]["value"])
        for model, m in trained.items()
        if "displacement_from_base" in m
    ]
    return pd.DataFrame(rows, columns=["model", "displacement", "kl"])


def spearman(rows: pd.DataFrame, distance: str) -> float:
    """Rank correlation of the index with a distance over the models; NaN below three."""
    return float(rows["index"].rank().corr(rows[distance].rank())) if len(rows) > 2 else np.nan


@styled
def draw(rows: pd.DataFrame) -> Figure:
    """Left against displacement, right against KL divergence, both on a log axis.

    Of several families small points are the models and large ones the means of a recipe, which bear its name.
    """
    if rows.empty:
        return nothing(
            TITLE, "No model of this study was trained inside the pipeline, so no distance from its base is known."
        )
    styles, several = looks(rows["recipe"]), rows.groupby("recipe")["model"].nunique().max() > 1
    shown = "small marks: the models of each family" if several else "with its interval over prompts"
    figure = sheet(
        4.2, TITLE,
        f"Adjusted index of preservation, mean over tasks and layers (1: as like the base as sampling noise allows, 0: chance), {shown}. "
        f"ρ over {len(rows)} models that share {'their bases' if several else 'a base'}: a description, not a test. "
        "Filled: paradigms; open: controls.",
    )  # fmt: skip
    panels = figure.subplots(1, 2, sharey=True)
    for axes, (distance, label) in zip(panels, MEASURED.items(), strict=True):
        for recipe, look in styles.items():
            here = rows[rows["recipe"] == recipe]
            if several:
                axes.scatter(here[distance], here["index"], s=10, color=look.colour, marker=look.marker, alpha=0.6)
            else:
                axes.vlines(here[distance], here["index_low"], here["index_high"], color=look.colour, linewidth=1.4)
            face = "none" if look.control else look.colour  # open marks show what lies beneath them
            axes.plot(
                here[distance].mean(), here["index"].mean(), look.marker, label=recipe,
                color=look.colour, markerfacecolor=face, markeredgewidth=1.6, markersize=7,
            )  # fmt: skip
        axes.axhline(1, color=GREY, linewidth=1.1, linestyle=(0, (1, 1)), zorder=1)
        axes.set_xscale("log")
        axes.margins(x=0.16, y=0.12)
        log_ticks(axes.xaxis)
        axes.set_xlabel(label)
        axes.set_title(f"Spearman's ρ = {spearman(rows, distance):+.2f}".replace("-", "−").replace("+nan", "undefined"))
    panels[0].set_ylabel("preservation (adjusted index)")
    figure.draw_without_rendering()  # settles the layout, on which free places depend
    means = rows.groupby("recipe")[["displacement", "kl", "index"]].mean()
    for axes, distance in zip(panels, MEASURED, strict=True):
        label_points(
            axes, [(means.at[r, distance], means.at[r, "index"], look.label, look.ink) for r, look in styles.items()]
        )
    return figure
