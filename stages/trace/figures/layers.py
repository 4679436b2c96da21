"""RankMe and alpha of every layer at every checkpoint."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from stages.shared.figure_style import GREY, looks, nothing, sheet, styled
from stages.trace.figures.inputs import NOT_TRACED, Inputs, Traced, course, mean_of_families, time_of
from stages.trace.figures.time import LABELS, amount, unit_of
from stages.trace.series import ALPHA, RANKME, is_headline
from stages.trace.tables import read_spectra

TITLE = "RankMe and α of every layer along training"
LEVEL, FINAL = "token", "final_norm"
PANELS = {RANKME: ("RankMe, share of the width", "viridis"), ALPHA: ("α", "magma")}
COLUMNS = ["line", "step", "tokens", "site", "layer", "measure", "value"]
GAP = 0.5
"""Between the layers and the final norm, and between pretraining and the ends of the lines that follow."""
TICKS = 8


def table(read: Inputs, traces: Path) -> pd.DataFrame:
    """Columns COLUMNS: means over families at content tokens, along the first line of the course and at the ends of the
    others; rankme_eigen as a share of the number of eigenvalues, the width where there are enough rows."""
    found = course(read.lines)
    if not found:
        return pd.DataFrame(columns=COLUMNS)
    width = int(read_spectra(traces / found[0].line.runs[0], LEVEL, FINAL)["rank"].max())
    parts = [_rows(one, width) for one in found]
    ends = [rows[rows["step"] == rows["step"].max()] for rows in parts[1:]]
    return pd.concat([parts[0], *ends], ignore_index=True)


def _rows(one: Traced, width: int) -> pd.DataFrame:
    records = one.records
    chosen = records[(records["level"] == LEVEL) & records["measure"].isin(PANELS) & is_headline(records["variant"])]
    rows = mean_of_families(chosen, ["site", "layer", "measure"], ["value"])
    rows["value"] = rows["value"].where(rows["measure"] != RANKME, rows["value"] / width)
    tokens = time_of(one.series).set_index("step")["tokens"]
    return rows.assign(line=one.line.name, tokens=rows["step"].map(tokens))[COLUMNS]


@styled
def draw(rows: pd.DataFrame, read: Inputs) -> Figure:
    """A heatmap of RankMe and one of alpha: layers upwards, the final norm on top; checkpoints to the right."""
    if rows.empty:
        return nothing(TITLE, NOT_TRACED)
    first = rows["line"].iloc[0]
    layers = sorted(rows.loc[rows["site"] != FINAL, "layer"].unique())
    families = len(read.lines[first].line.runs)
    later = [name for name in dict.fromkeys(rows["line"]) if name != first]
    figure = sheet(
        2.5 + max(2.0, 0.14 * len(layers)), TITLE,
        f"Content tokens after each block (resid_post) and, on top, after the final norm; {first}"
        + (f", means over {families} families" if families > 1 else "")
        + ". Checkpoints stand side by side, whatever time lies between them; "
        + ("at the right the ends of the lines that start from it. " if later else "")
        + "Dashed: turning points of the headline's RankMe.",
    )  # fmt: skip
    phases = read.phases[read.phases["line"] == first]
    for axes, measure in zip(figure.subplots(1, 2, sharey=True), PANELS, strict=True):
        _heatmap(figure, axes, rows[rows["measure"] == measure], first, later, layers)
        _turns(axes, rows[rows["line"] == first], phases)
        _ticks(axes, rows, first, later, read)
        axes.set_title(PANELS[measure][0], pad=16)
        if measure == RANKME:
            shown = layers[:: -(-len(layers) // 10)]
            axes.set_yticks([*shown, _top(layers)], [*map(str, shown), "final norm"])
            axes.set_ylabel("layer")
    return figure


def _heatmap(figure: Figure, axes, rows: pd.DataFrame, first: str, later: list[str], layers: list[int]) -> None:
    scale = {"vmin": rows["value"].min(), "vmax": rows["value"].max(), "cmap": PANELS[rows["measure"].iloc[0]][1]}
    steps = sorted(rows.loc[rows["line"] == first, "step"].unique())
    for place, name in zip(_places(len(steps), len(later)), [first, *later], strict=True):
        own = rows[rows["line"] == name].pivot(index=["site", "layer"], columns="step", values="value")
        for site, low in ((FINAL, _top(layers)), ("resid_post", layers[0])):
            values = own.loc[site].sort_index().to_numpy()  # (layers, checkpoints)
            edges = np.arange(place, place + values.shape[1] + 1) - 0.5, np.arange(low, low + len(values) + 1) - 0.5
            drawn = axes.pcolormesh(*edges, np.ma.masked_invalid(values), **scale)
    for spine in axes.spines.values():
        spine.set_visible(False)
    figure.colorbar(drawn, ax=axes, pad=0.02, aspect=30).outline.set_visible(False)


def _places(checkpoints: int, later: int) -> list[float]:
    """Left columns of the first line, and of each end behind it."""
    return [0, *(checkpoints + GAP + i for i in range(later))]


def _top(layers: list[int]) -> float:
    return layers[-1] + 1 + GAP


def _turns(axes, rows: pd.DataFrame, phases: pd.DataFrame) -> None:
    steps = sorted(rows["step"].unique())
    for step in phases["from_step"].iloc[1:]:
        axes.axvline(steps.index(step), color="#222222", linewidth=1.6)  # visible on every colour
        axes.axvline(steps.index(step), color="white", linewidth=1.6, linestyle=(0, (3, 2)))
        axes.annotate("turn", (steps.index(step), 1), xycoords=axes.get_xaxis_transform(), ha="center", va="bottom",
                      fontsize=7.5, color=GREY)  # fmt: skip


def _ticks(axes, rows: pd.DataFrame, first: str, later: list[str], read: Inputs) -> None:
    times = rows[rows["line"] == first].drop_duplicates("step").sort_values("step")
    unit, places = unit_of(times), _places(len(times), len(later))
    shown = sorted({0, *range(len(times) - 1, 0, -max(1, -(-len(times) // TICKS)))})
    names = [amount(time) for time in times[unit].iloc[shown]]
    looked = looks(read.lines)
    axes.set_xticks([*shown, *places[1:]], [*names, *(looked[name].label for name in later)], rotation=90)
    for label, name in zip(axes.get_xticklabels()[len(shown) :], later, strict=True):
        label.set_color(looked[name].ink)
    axes.set_xlabel(LABELS[unit])
