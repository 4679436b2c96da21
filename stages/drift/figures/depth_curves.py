"""How far clouds move from layer to layer, and from the reference to each model, with floor, null and baseline."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from stages.drift.clouds import WITH_SINKS
from stages.drift.figures.inputs import (
    ALONE,
    DriftInputs,
    curve_table,
    draw_curves,
    headline,
    mean_by_depth,
    name_depths,
)
from stages.drift.sample_files import UNTRAINED
from stages.shared.figure_style import GREY, legend, log_ticks, nothing, sheet, styled, widths

# Label and dash of what a curve is compared with.
LEVELS = {
    "rotated": ("rotated at random", (0, (1, 1))),
    "untrained": ("untrained model", (0, (5, 2))),
    "resample_baseline": ("halves of the same cloud, of other prompts", (0, (4, 1.5, 1, 1.5))),
    "noisy": ("noise floor", "-"),
    "with_sinks": ("with sinks", (0, (3, 1.5))),
    "legacy": ("prior study's formula", "-"),
    "legacy_rotated": ("the same of a rotated layer", (0, (1, 1))),
}
LEGACY = ("legacy", "legacy_rotated")
# A rotation so many times as far as all else would flatten the curves: it is written instead of drawn.
FAR = 3.0
COLUMNS = ["line", "series", "point", "value", "low", "high"]


def layers_table(inputs: DriftInputs) -> pd.DataFrame:
    """Return W2 between adjacent depths, a row a step: the curves of all recipes, and the levels of each base."""
    curves = curve_table(inputs, list(inputs.recipes), "layers").assign(series="w2")
    adjacent = headline(inputs, "layers")
    adjacent = adjacent[adjacent["other_point"] == adjacent["point"] + 1]
    legacy = inputs.records[inputs.records["measure"] == "legacy_sinkhorn"]
    levels = {
        "rotated": _mean_of_adjacent(mean_by_depth(headline(inputs, "rotated"))),
        "noisy": _mean_of_adjacent(mean_by_depth(headline(inputs, "noisy"))),
        "untrained": mean_by_depth(headline(inputs, "layers", state=UNTRAINED)),
        "resample_baseline": mean_by_depth(adjacent, "resample_baseline"),
        "with_sinks": mean_by_depth(headline(inputs, "layers", tokens=WITH_SINKS)),
        "legacy": mean_by_depth(legacy[legacy["kind"] == "layers"]),
        "legacy_rotated": _mean_of_adjacent(mean_by_depth(legacy[legacy["kind"] == "rotated"])),
    }
    return _joined(curves, {name: rows[rows["line"].isin(inputs.bases)] for name, rows in levels.items()})


def models_table(inputs: DriftInputs) -> pd.DataFrame:
    """Return W2 from the reference at each depth: the curves of all siblings, their baseline, the bases' noise floor."""
    curves = curve_table(inputs, inputs.siblings, "models").assign(series="w2")
    floor = mean_by_depth(headline(inputs, "noisy"))
    levels = {
        "noisy": floor[floor["line"].isin(inputs.bases)],
        "resample_baseline": mean_by_depth(headline(inputs, "models"), "resample_baseline"),
        "with_sinks": mean_by_depth(headline(inputs, "models", tokens=WITH_SINKS)),
    }
    return _joined(curves, levels)


@styled
def draw_layers(rows: pd.DataFrame, inputs: DriftInputs) -> Figure:
    """Draw the curves on their own scale; beside them, on a scale from 0, the first base and its levels."""
    curves, base = rows[rows["series"] == "w2"], inputs.bases[0]
    depths = int(curves["point"].max()) + 2
    style = inputs.styles[base]
    figure = sheet(
        4.8,
        "How far tokens move from layer to layer",
        f"W2 between neighbouring points; {inputs.sample}, basis {inputs.params.basis}, mean over tasks; emb: embedding, "
        f"norm: after the final norm. Bands: {inputs.band}.{inputs.depths}\nMiddle: {style.label} beside what a random "
        "rotation, noise and the architecture alone would make of it. Halves have half as many tokens, hence more bias. "
        "Right, for comparison only: the prior study's formula (a PCA of each layer, entropic, squared) beside what it "
        "says of a layer and its own rotation.",
    )
    left, middle, right = figure.subplots(1, 3, gridspec_kw={"width_ratios": [1.2, 1.2, 1]})
    draw_curves(left, curves, inputs.styles, widths(inputs.styles))
    base_rows = rows[rows["line"] == base]
    base_curve = base_rows[base_rows["series"] == "w2"]
    middle.plot(base_curve["point"], base_curve["value"], color=style.colour, linewidth=2.4)
    present = [series for series in LEVELS if series in set(base_rows["series"])]
    rest = base_rows.loc[~base_rows["series"].isin(["rotated", *LEGACY]), "value"].max()
    rotated = base_rows.loc[base_rows["series"] == "rotated", "value"]
    names = {}
    if len(rotated) and rotated.min() > FAR * rest:
        written = f"{rotated.min():.2g} to {rotated.max():.2g}, above the axis"
        names = {"rotated": f"{LEVELS['rotated'][0]}: {written}"}
    for series in present:
        if series in names:
            continue
        axes, level = (right if series in LEGACY else middle), base_rows[base_rows["series"] == series]
        dash = LEVELS[series][1]
        axes.plot(level["point"], level["value"], color=_level_colour(series), linestyle=dash, linewidth=1.3)
    for axes in (middle, right):
        axes.set_ylim(bottom=0)
    for axes in (left, middle, right):
        name_depths(axes.xaxis, depths, steps=True)
        axes.tick_params(axis="x", rotation=90)
    left.set_ylabel("W2")
    left.set_title("all models")
    middle.set_title(f"{style.label}, and nulls")
    right.set_title("prior study's formula")
    legend(figure, [*_handles(inputs, list(inputs.recipes)), *_level_handles(present, names)], columns=3)
    return figure


@styled
def draw_models(rows: pd.DataFrame, inputs: DriftInputs) -> Figure:
    """Draw sizes on a logarithmic scale; beside them each curve over its own mean: where in depth a model moves."""
    title = "How far each model moves the tokens from its reference, by depth"
    curves = rows[rows["series"] == "w2"]
    if curves.empty:
        return nothing(title, ALONE)
    gap = " " if inputs.columns > 3 else "\n"
    figure = sheet(
        4.3 + 0.17 * len(inputs.siblings) * (gap == "\n"),
        title,
        f"W2 from the reference's cloud to the model's at the same point; {inputs.sample}, basis {inputs.params.basis}, "
        f"mean over tasks. Bands: {inputs.band}.{inputs.depths} The same tokens on both sides: a model that did not move "
        "is at 0.\nRight: each curve over its own mean; the late share is that of the last third of the points (a third "
        "where all depths move alike).",
    )
    left, right = figure.subplots(1, 2)
    styles = {recipe: inputs.styles[recipe] for recipe in inputs.siblings}
    draw_curves(left, curves, styles, widths(styles))
    for series in ("resample_baseline", "noisy"):
        level = rows[rows["series"] == series].groupby("point")["value"].mean()
        left.plot(level.index, level, color=GREY, linestyle=LEVELS[series][1], linewidth=1.2)
    for recipe, look in styles.items():
        sinks = rows[(rows["line"] == recipe) & (rows["series"] == WITH_SINKS)]
        left.plot(sinks["point"], sinks["value"], color=look.colour, linestyle=LEVELS[WITH_SINKS][1], linewidth=0.9)
    left.set_yscale("log")
    log_ticks(left.yaxis)
    relative = curves.copy()
    means = curves.groupby("line")["value"].transform("mean")
    relative[["value", "low", "high"]] = curves[["value", "low", "high"]].div(means, axis=0)
    draw_curves(right, relative, styles, widths(styles))
    right.axhline(1, color=GREY, linewidth=0.8)
    for axes in (left, right):
        name_depths(axes.xaxis, int(curves["point"].max()) + 1)
    left.set_ylabel("W2 from the reference")
    right.set_ylabel("W2 over its mean over depth")
    shares = _late_shares(inputs)
    names = {recipe: f"{styles[recipe].label}:{gap}{shares[recipe]}" for recipe in styles if recipe in shares}
    levels = _level_handles(["with_sinks", "resample_baseline", "noisy"])
    legend(figure, [*_handles(inputs, inputs.siblings, names), *levels], columns=2)
    return figure


def _late_shares(inputs: DriftInputs) -> dict[str, str]:
    """Return the late share of each recipe with its interval, in words."""
    rows = inputs.course[(inputs.course["quantity"] == "late_share") & (inputs.course["kind"] == "models")]
    return {
        row.line: f"late share {row.value:.3f} [{row.low:.3f}, {row.high:.3f}]" for row in rows.itertuples(index=False)
    }


def _mean_of_adjacent(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the mean of the values at each two adjacent depths, a row a step."""
    parts = []
    for recipe, level in rows.groupby("line", sort=False):
        means = np.convolve(level["value"], [0.5, 0.5], "valid")
        parts.append(pd.DataFrame({"line": recipe, "point": level["point"].to_numpy()[:-1], "value": means}))
    return pd.concat(parts, ignore_index=True) if parts else rows


def _joined(curves: pd.DataFrame, levels: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Return ``curves`` and the ``levels``, which have no intervals; nothing where there is no curve."""
    if curves.empty:
        return curves[COLUMNS]
    parts = [curves, *(rows.assign(series=name, low=np.nan, high=np.nan) for name, rows in levels.items())]
    return pd.concat([part[COLUMNS] for part in parts if len(part)], ignore_index=True)


def _handles(inputs: DriftInputs, recipes: Sequence[str], names: dict[str, str] | None = None) -> list[Line2D]:
    """Return legend handles of ``recipes``; ``names`` replaces the label of some."""
    return [
        Line2D(
            [],
            [],
            color=look.colour,
            linestyle=look.dash,
            marker=look.marker,
            markersize=3.2,
            linewidth=1.8,
            label=(names or {}).get(recipe, look.label),
        )
        for recipe, look in inputs.styles.items()
        if recipe in recipes
    ]


def _level_handles(series: list[str], names: dict[str, str] | None = None) -> list[Line2D]:
    """Return legend handles of the levels ``series``; ``names`` replaces the label of some."""
    labels = {name: LEVELS[name][0] for name in series} | (names or {})
    return [
        Line2D([], [], color=_level_colour(name), linestyle=LEVELS[name][1], linewidth=1.2, label=labels[name])
        for name in series
    ]


def _level_colour(series: str) -> str:
    return "#D55E00" if series.startswith("legacy") else GREY
