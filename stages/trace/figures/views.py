"""The figure that asks whether RankMe and alpha of pretraining depend on the place, the tokens or the convention."""

from __future__ import annotations

from typing import NamedTuple

import pandas as pd
from matplotlib.figure import Figure

from stages.shared.figure_style import nothing, sheet, styled
from stages.trace.figures.inputs import NOT_TRACED, TraceFigureInputs, checkpoint_times, family_means, main_lineage
from stages.trace.figures.time import axis_positions, phase_patches, shade_phases, step_positions, time_axis, time_unit
from stages.trace.series import ALPHA, LEGACY, RANKME, ROBUST

TITLE = "Does the course of pretraining depend on how it is measured?"
COLOURS = ("#222222", "#D55E00", "#0072B2", "#009E73")
# Distance, in ranges of the curves of RankMe, beyond which a chance level is not drawn.
FAR = 2.0
NULL = (0, (1, 1.2))
FINAL, POST = "final_norm", "resid_post"
COLUMNS = ["panel", "curve", "site", "level", "measure", "variant", "step", "tokens", "value", "null"]


class ViewCurve(NamedTuple):
    """The records of the last layer that make one curve; ``variant`` is the beginning of their variants."""

    label: str
    site: str
    level: str
    measure: str
    variant: str


PANELS = {
    "RankMe: before or after the final norm": (
        ViewCurve("after the final norm", FINAL, "token", RANKME, ""),
        ViewCurve("last layer, before it", POST, "token", RANKME, ""),
    ),
    "RankMe: of which tokens": (
        ViewCurve("content tokens", FINAL, "token", RANKME, ""),
        ViewCurve("last tokens", FINAL, "last_token", RANKME, ""),
        ViewCurve("all, with sinks and specials", FINAL, "all_positions", RANKME, ""),
    ),
    "RankMe: of which spectrum": (
        ViewCurve("eigenvalues, centred (Li et al.)", FINAL, "token", RANKME, ""),
        ViewCurve("singular values, raw (Garrido et al.)", FINAL, "token", "rankme", ""),
    ),
    "α: of which tokens and place": (
        ViewCurve("content tokens", FINAL, "token", ALPHA, "weighted"),
        ViewCurve("last tokens", FINAL, "last_token", ALPHA, "weighted"),
        ViewCurve("all, with sinks and specials", FINAL, "all_positions", ALPHA, "weighted"),
        ViewCurve("content, before the final norm", POST, "token", ALPHA, "weighted"),
    ),
    "α: by which fit": (
        ViewCurve("weighted, relative ranks", FINAL, "token", ALPHA, "weighted"),
        ViewCurve("robust median, the same ranks", FINAL, "token", ALPHA, ROBUST),
        ViewCurve("legacy, ranks 12 to 100", FINAL, "token", ALPHA, LEGACY),
    ),
}
# The panel of content tokens after the final norm: entropy of the band's eigenvalues over its largest value.
BANDS = "Evenness within bands of ranks"


def table(inputs: TraceFigureInputs) -> pd.DataFrame:
    """Return columns COLUMNS: the curves of each panel along the first course of the lineage, means over families.

    ``null`` is the value of an isotropic cloud.
    """
    lineage = main_lineage(inputs.courses)
    if not lineage:
        return pd.DataFrame(columns=COLUMNS)
    records = lineage[0].records
    records = records[records["layer"] == records.groupby("site")["layer"].transform("max")]
    bands = sorted(set(records.loc[records["measure"] == "band_entropy", "variant"]), key=_bounds)
    panels = PANELS | {BANDS: tuple(ViewCurve(_band(band), FINAL, "token", "band_entropy", band) for band in bands)}
    parts = [_rows(records, curve).assign(panel=panel) for panel, curves in panels.items() for curve in curves]
    rows = pd.concat(parts, ignore_index=True)
    tokens = checkpoint_times(lineage[0].series).set_index("step")["tokens"]
    return rows.assign(tokens=rows["step"].map(tokens))[COLUMNS]


def _rows(records: pd.DataFrame, curve: ViewCurve) -> pd.DataFrame:
    curve_records = records[
        (records["site"] == curve.site)
        & (records["level"] == curve.level)
        & (records["measure"] == curve.measure)
        & records["variant"].str.startswith(curve.variant)
    ]
    keys = ["site", "level", "measure", "variant"]
    return family_means(curve_records, keys, ["value", "null"]).assign(curve=curve.label)


def _bounds(variant: str) -> list[float]:
    """Return the bounds of a band of ranks, as shares: centred_eigen_0.1_0.4 has 0.1 and 0.4."""
    return [float(bound) for bound in variant.split("_")[-2:]]


def _band(variant: str) -> str:
    low, high = (f"{100 * bound:g}" for bound in _bounds(variant))
    return f"ranks {low} to {high} %"


@styled
def draw(rows: pd.DataFrame, inputs: TraceFigureInputs) -> Figure:
    """Draw a panel for each choice; the legends tell where each curve of RankMe is lowest, and of alpha highest."""
    if rows.empty:
        return nothing(TITLE, NOT_TRACED)
    first = main_lineage(inputs.courses)[0].course
    phases = inputs.phases[inputs.phases["line"] == first.name]
    figure = sheet(
        6.6,
        TITLE,
        f"Pretraining of {first.name}"
        + (f", means over {len(first.runs)} families" if len(first.runs) > 1 else "")
        + ". Dotted: the same measure of an isotropic cloud of as many rows; its value stands in the legend where it lies far "
        "off. In brackets the step where the curve is lowest, α highest. Evenness: entropy of a band's eigenvalues over its "
        "largest possible value. Grounds: phases of the headline's RankMe.",
    )
    unit = time_unit(rows)
    grid = figure.subplots(2, 3, sharex=True)
    panels = list(dict.fromkeys(rows["panel"]))
    for axes, panel in zip(grid.flat, panels, strict=True):
        panel_rows = rows[rows["panel"] == panel]
        time_axis(axes, panel_rows[unit], unit, 4)
        shade_phases(axes, phases, step_positions(panel_rows))
        _curves(axes, panel_rows, unit)
        axes.set_title(panel)
        if axes not in grid[-1]:
            axes.set_xlabel("")
    if handles := phase_patches(phases):
        figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    return figure


def _curves(axes, rows: pd.DataFrame, unit: str) -> None:
    curves = list(zip(rows.groupby("curve", sort=False), COLOURS, strict=False))
    low, high = rows["value"].min(), rows["value"].max()
    draws_null = [_draws_null(curve, low, high) for (_, curve), _ in curves]
    for ((label, curve), colour), null_is_drawn in zip(curves, draws_null, strict=True):
        values, level = curve["value"].to_numpy(), curve["null"].iloc[-1]
        extreme = values.argmax() if rows["measure"].iloc[0] == ALPHA else values.argmin()
        name = f"{label} [{curve['step'].iloc[extreme]}]" + ("" if null_is_drawn else f", chance {level:.3g}")
        axes.plot(axis_positions(curve[unit]), values, color=colour, linewidth=1.5, label=name)
        if null_is_drawn:
            axes.axhline(level, color=colour, linewidth=1.2, linestyle=NULL, zorder=1)
            low, high = min(low, level), max(high, level)
    room = 0.04 * (high - low)
    ticks = [tick for tick in axes.get_yticks() if low - room <= tick <= high + room]
    # room for the legend, which then covers no curve
    axes.set_ylim(low - room, high + (0.14 + 0.13 * len(curves)) * (high - low))
    axes.set_yticks(ticks)
    axes.legend(
        loc="upper left",
        fontsize=7.5,
        handlelength=1.3,
        labelspacing=0.2,
        borderaxespad=0.2,
        borderpad=0.2,
        frameon=True,
        facecolor="white",
        edgecolor="none",
        framealpha=0.85,
    )


def _draws_null(curve: pd.DataFrame, low: float, high: float) -> bool:
    """Return whether the chance level leaves the curves visible: always that of alpha and evenness, whose scales are fixed."""
    level = curve["null"].iloc[-1]
    return curve["measure"].iloc[0] not in (RANKME, "rankme") or level - high < FAR * (high - low)
