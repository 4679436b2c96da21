"""Preservation against how far the weights and the predictions moved from the base."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from stages.paradigms.figures.labels import label_points
from stages.paradigms.figures.near_one import spread_y
from stages.paradigms.perturbed_records import mean_index
from stages.paradigms.tables import RANDOM_KINDS
from stages.shared.figure_style import GREY, Look, legend, log_ticks, looks, nothing, sheet, styled
from stages.statistics.half_sampling import half_sample_standard_error, interval

TITLE = "Preservation against distance from the base"
MEASURED = {
    "displacement": "relative displacement of the weights, ‖ΔW‖ / ‖W‖",
    "kl": "KL(model ‖ base), nats per token",
}
PATHS = {
    "interpolation": ("-", "", "Straight line from the base to the model"),
    "checkpoint": ((0, (2, 1)), ".", "Checkpoints of its training"),
}
DRAW = {"color": "#999999", "linestyle": "", "marker": "_", "markersize": 7}
PATH_COLUMNS = ["recipe", "model", "kind", "draw", "t", "step", "displacement", "index"]
COLUMNS = ["recipe", "model", "displacement", "kl", "index", "index_low", "index_high"]


def table(
    records: pd.DataFrame, replicates: pd.DataFrame, distances: pd.DataFrame, k: int, site: str, confidence: float
) -> pd.DataFrame:
    """Return the index of centred preservation, mean over tasks and layers, of every trained sibling, and its distances.

    ``distances`` has the columns model, displacement and kl. The interval is over prompts: the mean over tasks and
    layers is taken inside each half-sample (``replicates``, with the column `model`). A layer without an index, on all
    prompts or on any half, is left out of both.
    """
    variant = f"centred_k{k}"
    rows = _preservation_rows(records, variant, site)
    halves = _preservation_rows(replicates, variant, site)
    halves = halves[halves["quantity"] == "index"]
    rows_by_model = []
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
            error = half_sample_standard_error(cells.loc[values.index].mean().to_numpy(), int(group["n"].min()))
            low, high = interval(values.mean(), error, confidence)
        rows_by_model.append([recipe, model, *distance.iloc[0], values.mean(), low, high])
    return pd.DataFrame(rows_by_model, columns=COLUMNS).sort_values(["recipe", "model"], ignore_index=True)


def _preservation_rows(rows: pd.DataFrame, variant: str, site: str) -> pd.DataFrame:
    return rows[(rows["measure"] == "preservation") & (rows["variant"] == variant) & (rows["site"] == site)]


def distances(trained: dict[str, dict], paths: pd.DataFrame) -> pd.DataFrame:
    """Return displacement and KL divergence from the base, from the training metrics of each organism; a base has none.

    Other models have a displacement only, if it is in their ``paths``.
    """
    rows = [
        (model, m["displacement_from_base"], m["kl_from_base"]["value"])
        for model, m in trained.items()
        if "displacement_from_base" in m
    ]
    ends = paths[(paths["t"] == 1) & ~paths["model"].isin(list(trained))]
    rows += [
        (model, displacement, np.nan) for model, displacement in zip(ends["model"], ends["displacement"], strict=True)
    ]
    return pd.DataFrame(rows, columns=["model", "displacement", "kl"])


def paths(points: pd.DataFrame) -> pd.DataFrame:
    """Return index and displacement of every perturbed model, means over tasks and layers.

    ``points``: tables of perturbed models with the columns `recipe` and `model`.
    """
    groups = points.groupby(["recipe", "model"])
    tables = [mean_index(group).assign(recipe=recipe, model=model) for (recipe, model), group in groups]
    return pd.concat(tables, ignore_index=True)[PATH_COLUMNS] if tables else pd.DataFrame(columns=PATH_COLUMNS)


def spearman(rows: pd.DataFrame, distance: str) -> float:
    """Return the rank correlation of the index with a distance over the models; NaN below three."""
    rows = rows.dropna(subset=[distance])
    return float(rows["index"].rank().corr(rows[distance].rank())) if len(rows) > 2 else np.nan


@styled
def draw(rows: pd.DataFrame, paths: pd.DataFrame) -> Figure:
    """Draw preservation against displacement, with the ``paths`` and random updates of each model, and against KL.

    With several families small points are the models and large ones the means of a recipe, which bear its name.
    """
    if rows.empty:
        return nothing(
            TITLE, "No model of this study was trained inside the pipeline, so no distance from its base is known."
        )
    styles, several = looks(rows["recipe"]), rows.groupby("recipe")["model"].nunique().max() > 1
    marks = "small marks: the models of each family" if several else "with its interval over prompts"
    figure = sheet(
        4.9 if len(paths) else 4.4,
        TITLE,
        f"Adjusted index of preservation, mean over tasks and layers (1: as like the base as sampling noise allows, 0: chance), {marks}. "
        f"ρ over {len(rows)} models that share {'their bases' if several else 'a base'}: a description, not a test. "
        "Filled: paradigms; open: controls. The axis spreads what is near 1. "
        f"{'Lines and random updates: on fewer prompts.' if len(paths) else ''}",
    )
    measured = [distance for distance in MEASURED if rows[distance].notna().any()]
    panels = dict(zip(measured, figure.subplots(1, len(measured), sharey=True, squeeze=False)[0], strict=True))
    for distance, axes in panels.items():
        for recipe, look in styles.items():
            _draw_recipe(axes, rows[rows["recipe"] == recipe], distance, look, several)
        axes.axhline(1, color=GREY, linewidth=1.1, linestyle=(0, (1, 1)), zorder=1)
        axes.axhline(0, color=GREY, linewidth=1.2, zorder=1)
        spread_y(axes)
        axes.set_xscale("log")
        axes.set_xlabel(MEASURED[distance])
        axes.set_title(f"Spearman's ρ = {spearman(rows, distance):+.2f}".replace("-", "−").replace("+nan", "undefined"))
    if len(paths := paths[paths["recipe"].isin(list(styles))]):
        _draw_paths(panels["displacement"], paths, styles)
        legend(figure, _entries())
    for axes in panels.values():
        axes.margins(x=0.16, y=0.12)
        log_ticks(axes.xaxis)
    panels[measured[0]].set_ylabel("preservation (adjusted index)")
    figure.draw_without_rendering()  # settles the layout, on which free positions depend
    means = rows.groupby("recipe")[["displacement", "kl", "index"]].mean()
    for distance, axes in panels.items():
        labels = [
            (means.loc[recipe, distance], means.loc[recipe, "index"], look.label, look.ink)
            for recipe, look in styles.items()
            if np.isfinite(means.loc[recipe, distance])
        ]
        label_points(axes, labels)
    return figure


def _draw_recipe(axes, rows: pd.DataFrame, distance: str, look: Look, several: bool) -> None:
    """Draw the mark of one recipe, and its interval or its models."""
    if several:
        axes.scatter(rows[distance], rows["index"], s=10, color=look.colour, marker=look.marker, alpha=0.6)
    else:
        axes.vlines(rows[distance], rows["index_low"], rows["index_high"], color=look.colour, linewidth=1.4)
    face = "none" if look.control else look.colour  # open marks show what lies beneath them
    axes.plot(
        rows[distance].mean(),
        rows["index"].mean(),
        look.marker,
        label=rows["recipe"].iloc[0],
        color=look.colour,
        markerfacecolor=face,
        markeredgewidth=1.6,
        markersize=7,
    )


def _draw_paths(axes, paths: pd.DataFrame, styles: dict[str, Look]) -> None:
    """Draw lines to the models in their colours, and the random updates of their sizes, behind the models' marks."""
    for (recipe, _, kind), rows in paths.sort_values("displacement").groupby(["recipe", "model", "kind"]):
        points = rows["displacement"], rows["index"]
        if kind in RANDOM_KINDS:
            axes.plot(*points, **DRAW, label=f"{recipe} {kind}", zorder=1.5)
        elif kind in PATHS:
            dash, mark, _ = PATHS[kind]
            colour = styles[recipe].colour
            axes.plot(
                *points,
                color=colour,
                linestyle=dash,
                marker=mark,
                markersize=5,
                linewidth=1.0,
                zorder=2,
                label=f"{recipe} {kind}",
            )


def _entries() -> list[Line2D]:
    """Return the legend entries of what `_draw_paths` draws."""
    lines = [
        Line2D([], [], color=GREY, linestyle=dash, marker=mark, markersize=5, linewidth=1.0, label=label)
        for dash, mark, label in PATHS.values()
    ]
    return [*lines, Line2D([], [], **DRAW, label="Random updates of a model's size")]
