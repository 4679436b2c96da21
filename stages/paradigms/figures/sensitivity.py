"""Sensitivity by layer: how strongly each model answers to small changes of its embeddings, and how that changed."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from stages.paradigms.figures.families import family_band
from stages.shared.figure_style import GREY, legend, looks, nothing, sheet, styled, whole_ticks, widths
from stages.statistics.half_sampling import interval

TITLE = "Sensitivity of the residual stream to the embeddings, by layer"
PANELS = {
    "relative_noise_response": "noise response\nrelative to the stream",
    "jacobian_frobenius_norm": "Frobenius norm\nof the Jacobian",
    "jacobian_top_singular_value": "top singular value\nof the Jacobian",
    "expansion_exponent": "expansion exponent,\nnats per layer",
}
# Measures whose change is a difference; that of the others is a ratio, taken in logarithms.
SIGNED = ("expansion_exponent",)


def table(values: pd.DataFrame, confidence: float) -> pd.DataFrame:
    """Return means over prompts, one row for each model, measure and layer; tasks weigh equally.

    ``values``: the tables `sensitivity` of all models with a column `recipe`. The change against the reference is
    paired over prompts: value / reference - 1 of the geometric means, or their difference for signed measures.
    """
    rows = values[values["measure"].isin(PANELS)]
    keys = ["task", "prompt", "layer", "measure"]
    reference_rows = rows[["model", *keys, "value"]].rename(columns={"model": "reference", "value": "of_reference"})
    rows = rows.merge(reference_rows, on=["reference", *keys], how="left")
    signed = rows["measure"].isin(SIGNED)
    ratio = np.log(rows["value"].mask(signed, 1.0) / rows["of_reference"].mask(signed, 1.0))
    rows["change"] = ratio.mask(signed, rows["value"] - rows["of_reference"])
    levels, changes = (_over_tasks(rows, quantity, confidence) for quantity in ("value", "change"))
    ratios = ~changes["measure"].isin(SIGNED)
    columns = ["change", "change_low", "change_high"]
    changes.loc[ratios, columns] = np.expm1(changes.loc[ratios, columns])
    means = levels.merge(changes, how="left")
    means.loc[means["model"] == means.pop("reference"), columns] = np.nan
    return means.sort_values(["measure", "recipe", "model", "layer"], ignore_index=True)


def _over_tasks(rows: pd.DataFrame, quantity: str, confidence: float) -> pd.DataFrame:
    """Return the mean over tasks of the means over prompts, and its interval over prompts."""
    keys = ["recipe", "model", "reference", "measure", "layer"]
    tasks = rows.groupby([*keys, "task"])[quantity].agg(["mean", "sem"]).reset_index()
    tasks["variance"] = tasks["sem"] ** 2
    groups = tasks.groupby(keys)
    mean = groups["mean"].mean()
    error = np.sqrt(groups["variance"].sum(min_count=1)) / groups.size()
    low, high = interval(mean, error, confidence)
    prefix = "" if quantity == "value" else f"{quantity}_"
    return pd.DataFrame({quantity: mean, f"{prefix}low": low, f"{prefix}high": high}).reset_index()


@styled
def draw(rows: pd.DataFrame) -> Figure:
    """Draw each model above, and below its change against the reference, paired over prompts.

    With several families, lines are means and bands reach from the lowest family to the highest.
    """
    if rows.empty:
        return nothing(TITLE, "No model of this study could be differentiated; the records say why.")
    styles = looks(rows["recipe"])
    width = widths(styles)
    several = rows.groupby("recipe")["model"].nunique().max() > 1
    bands = "the range over the families" if several else "the interval over prompts"
    figure = sheet(
        5.6,
        TITLE,
        f"Exact derivatives at resid_post (last token; exponents: all tokens), means over tasks. Bands: {bands}.\n"
        "Below: change against the base on the same prompts and directions, hence much surer than the levels above it.",
    )
    grid = figure.subplots(2, len(PANELS), sharex=True, squeeze=False)
    for column, (measure, label) in enumerate(PANELS.items()):
        measure_rows = rows[rows["measure"] == measure]
        signed = measure in SIGNED
        for axes, quantity in zip(grid[:, column], ("value", "change"), strict=True):
            scale = 1 if signed or quantity == "value" else 100
            for recipe, look in styles.items():
                band = scale * family_band(measure_rows[measure_rows["recipe"] == recipe], quantity, several)
                alpha, order = (0.10, 4) if look.control else (0.18, 3)
                axes.plot(
                    band.index,
                    band["mean"],
                    color=look.colour,
                    linestyle=look.dash,
                    linewidth=width[recipe],
                    label=recipe,
                    zorder=order,
                )
                axes.fill_between(band.index, band["low"], band["high"], color=look.colour, alpha=alpha, linewidth=0)
            if signed or quantity == "change":
                axes.axhline(0, color=GREY, linewidth=1.0, zorder=1)
        grid[0, column].set_title(label)
        grid[1, column].set_xlabel("layer")
        grid[1, column].set_ylabel("difference" if signed else "change, %")
        whole_ticks(grid[1, column], rows["layer"])
    handles = [
        Line2D([], [], color=v.colour, linestyle=v.dash, linewidth=width[recipe], label=v.label)
        for recipe, v in styles.items()
    ]
    legend(figure, [*handles, Line2D([], [], color=GREY, linewidth=1.0, label="No change; an isometry")])
    return figure
