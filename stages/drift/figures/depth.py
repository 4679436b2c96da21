"""How far clouds move from layer to layer, and from the reference to each model, with floor, null and baseline."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from stages.drift.clouds import WITH_SINKS
from stages.drift.figures.inputs import (
    ALONE,
    Inputs,
    curve_table,
    draw_curves,
    headline,
    mean_by_point,
    name_points,
)
from stages.drift.samples import UNTRAINED
from stages.shared.figure_style import GREY, legend, log_ticks, nothing, sheet, styled, widths

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
FAR = 3.0
"""A rotation so many times as far as all else would flatten the curves: it is written instead of drawn."""
COLUMNS = ["line", "series", "point", "value", "low", "high"]


def layers_table(read: Inputs) -> pd.DataFrame:
    """Between neighbouring points, a row a step: the curves of all lines, and what each base is set beside."""
    curves = curve_table(read, list(read.families), "layers").assign(series="w2")
    neighbours = headline(read, "layers")
    neighbours = neighbours[neighbours["other_point"] == neighbours["point"] + 1]
    legacy = read.records[read.records["measure"] == "legacy_sinkhorn"]
    untrained = headline(read, "layers", state=UNTRAINED)
    levels = {
        "rotated": _between(mean_by_point(headline(read, "rotated"))),
        "noisy": _between(mean_by_point(headline(read, "noisy"))),
        "untrained": mean_by_point(untrained),
        "resample_baseline": mean_by_point(neighbours, "resample_baseline"),
        "with_sinks": mean_by_point(headline(read, "layers", tokens=WITH_SINKS)),
        "legacy": mean_by_point(legacy[legacy["kind"] == "layers"]),
        "legacy_rotated": _between(mean_by_point(legacy[legacy["kind"] == "rotated"])),
    }
    return _joined(curves, {name: rows[rows["line"].isin(read.bases)] for name, rows in levels.items()})


def models_table(read: Inputs) -> pd.DataFrame:
    """From the reference at each point: the curves of all siblings, their baseline, and the noise floor of the bases."""
    curves = curve_table(read, read.siblings, "models").assign(series="w2")
    floor = mean_by_point(headline(read, "noisy"))
    levels = {
        "noisy": floor[floor["line"].isin(read.bases)],
        "resample_baseline": mean_by_point(headline(read, "models"), "resample_baseline"),
        "with_sinks": mean_by_point(headline(read, "models", tokens=WITH_SINKS)),
    }
    return _joined(curves, levels)


@styled
def draw_layers(rows: pd.DataFrame, read: Inputs) -> Figure:
    """The curves on their own scale; beside them, on a scale from 0, what the first base is set beside."""
    curves, base = rows[rows["series"] == "w2"], read.bases[0]
    points = int(curves["point"].max()) + 2
    figure = sheet(
        4.8, "How far tokens move from layer to layer",
        f"W2 between neighbouring points; {read.sample}, basis {read.params.basis}, mean over tasks; emb: embedding, norm: after the "
        f"final norm. Bands: {read.band}.{read.depths}\nMiddle: {read.styles[base].label} beside what a random rotation, noise and the "
        "architecture alone would make of it. Halves have half as many tokens, hence more bias. Right, for comparison only: the prior "
        "study's formula (a PCA of each layer, entropic, squared) beside what it says of a layer and its own rotation.",
    )  # fmt: skip
    left, middle, right = figure.subplots(1, 3, gridspec_kw={"width_ratios": [1.2, 1.2, 1]})
    draw_curves(left, curves, read.styles, widths(read.styles))
    own = rows[rows["line"] == base]
    here = own[own["series"] == "w2"]
    middle.plot(here["point"], here["value"], color=read.styles[base].colour, linewidth=2.4)
    present = [series for series in LEVELS if series in set(own["series"])]
    rest = own.loc[~own["series"].isin(["rotated", *LEGACY]), "value"].max()
    rotated = own.loc[own["series"] == "rotated", "value"]
    far = len(rotated) > 0 and rotated.min() > FAR * rest
    for series in present:
        if series == "rotated" and far:
            continue
        axes, level = (right if series in LEGACY else middle), own[own["series"] == series]
        axes.plot(
            level["point"], level["value"], color=_level_colour(series), linestyle=LEVELS[series][1], linewidth=1.3
        )
    for axes in (middle, right):
        axes.set_ylim(bottom=0)
    for axes in (left, middle, right):
        name_points(axes.xaxis, points, steps=True)
        axes.tick_params(axis="x", rotation=90)
    left.set_ylabel("W2")
    left.set_title("all models")
    middle.set_title(f"{read.styles[base].label}, and nulls")
    right.set_title("prior study's formula")
    names = (
        {"rotated": f"{LEVELS['rotated'][0]}: {rotated.min():.2g} to {rotated.max():.2g}, above the axis"}
        if far
        else {}
    )
    legend(figure, [*_handles(read, list(read.families)), *_level_handles(present, names)], columns=3)
    return figure


@styled
def draw_models(rows: pd.DataFrame, read: Inputs) -> Figure:
    """Sizes on a logarithmic scale; beside them each curve over its own mean: where in depth a model moves."""
    title = "How far each model moves the tokens from its reference, by depth"
    curves = rows[rows["series"] == "w2"]
    if curves.empty:
        return nothing(title, ALONE)
    gap = " " if read.columns > 3 else "\n"
    figure = sheet(
        4.3 + 0.17 * len(read.siblings) * (gap == "\n"), title,
        f"W2 from the reference's cloud to the model's at the same point; {read.sample}, basis {read.params.basis}, mean over tasks. "
        f"Bands: {read.band}.{read.depths} The same tokens on both sides: a model that did not move is at 0.\nRight: each curve over its own mean; "
        "the late share is that of the last third of the points (a third where all depths move alike).",
    )  # fmt: skip
    left, right = figure.subplots(1, 2)
    styles = {line: read.styles[line] for line in read.siblings}
    draw_curves(left, curves, styles, widths(styles))
    for series in ("resample_baseline", "noisy"):
        level = rows[rows["series"] == series].groupby("point")["value"].mean()
        left.plot(level.index, level, color=GREY, linestyle=LEVELS[series][1], linewidth=1.2)
    for line, look in styles.items():
        sinks = rows[(rows["line"] == line) & (rows["series"] == WITH_SINKS)]
        left.plot(sinks["point"], sinks["value"], color=look.colour, linestyle=LEVELS[WITH_SINKS][1], linewidth=0.9)
    left.set_yscale("log")
    log_ticks(left.yaxis)
    relative = curves.copy()
    means = curves.groupby("line")["value"].transform("mean")
    relative[["value", "low", "high"]] = curves[["value", "low", "high"]].div(means, axis=0)
    draw_curves(right, relative, styles, widths(styles))
    right.axhline(1, color=GREY, linewidth=0.8)
    for axes in (left, right):
        name_points(axes.xaxis, int(curves["point"].max()) + 1)
    left.set_ylabel("W2 from the reference")
    right.set_ylabel("W2 over its mean over depth")
    shares = read.course[(read.course["quantity"] == "late_share") & (read.course["kind"] == "models")].set_index(
        "line"
    )
    names = {
        line: f"{look.label}:{gap}late share {shares['value'][line]:.3f} [{shares['low'][line]:.3f}, {shares['high'][line]:.3f}]"
        for line, look in styles.items()
        if line in shares.index
    }
    legend(
        figure,
        [*_handles(read, read.siblings, names), *_level_handles(["with_sinks", "resample_baseline", "noisy"])],
        columns=2,
    )
    return figure


def _between(rows: pd.DataFrame) -> pd.DataFrame:
    """Of values at points, the mean of each two neighbours, a row a step."""
    parts = [
        pd.DataFrame({"line": line, "point": own["point"].to_numpy()[:-1],
                      "value": np.convolve(own["value"], [0.5, 0.5], "valid")})
        for line, own in rows.groupby("line", sort=False)
    ]  # fmt: skip
    return pd.concat(parts, ignore_index=True) if parts else rows


def _joined(curves: pd.DataFrame, levels: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """``curves`` and the ``levels``, which have no intervals; nothing where there is no curve."""
    if curves.empty:
        return curves[COLUMNS]
    parts = [curves, *(rows.assign(series=name, low=np.nan, high=np.nan) for name, rows in levels.items())]
    return pd.concat([part[COLUMNS] for part in parts if len(part)], ignore_index=True)


def _handles(read: Inputs, lines: list[str], names: dict[str, str] | None = None) -> list[Line2D]:
    return [
        Line2D([], [], color=look.colour, linestyle=look.dash, marker=look.marker, markersize=3.2, linewidth=1.8,
               label=(names or {}).get(line, look.label))
        for line, look in read.styles.items()
        if line in lines
    ]  # fmt: skip


def _level_handles(series: list[str], names: dict[str, str] | None = None) -> list[Line2D]:
    return [
        Line2D([], [], color=_level_colour(name), linestyle=LEVELS[name][1], linewidth=1.2,
               label=(names or {}).get(name, LEVELS[name][0]))
        for name in series
    ]  # fmt: skip


def _level_colour(series: str) -> str:
    return "#D55E00" if series.startswith("legacy") else GREY
