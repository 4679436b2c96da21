"""The figure of RankMe and alpha of every layer at every checkpoint."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from stages.shared.figure_style import GREY, looks, nothing, sheet, styled
from stages.trace.figures.inputs import (
    NOT_TRACED,
    CourseTables,
    TraceFigureInputs,
    checkpoint_times,
    family_means,
    main_lineage,
)
from stages.trace.figures.time import LABELS, amount, time_unit
from stages.trace.series import ALPHA, RANKME, is_headline
from stages.trace.tables import read_spectra

TITLE = "RankMe and α of every layer along training"
LEVEL, FINAL = "token", "final_norm"
PANELS = {RANKME: ("RankMe, share of the width", "viridis"), ALPHA: ("α", "magma")}
COLUMNS = ["line", "step", "tokens", "site", "layer", "measure", "value"]
# Width of the gap between the layers and the final norm, and between pretraining and the ends of later courses.
GAP = 0.5
TICKS = 8


def table(inputs: TraceFigureInputs, traces: Path) -> pd.DataFrame:
    """Return columns COLUMNS: means over families at content tokens, along the first course and at the ends of the others.

    rankme_eigen is a share of the number of eigenvalues, which is the width where there are enough rows.
    """
    lineage = main_lineage(inputs.courses)
    if not lineage:
        return pd.DataFrame(columns=COLUMNS)
    width = int(read_spectra(traces / lineage[0].course.runs[0], LEVEL, FINAL)["rank"].max())
    parts = [_rows(tables, width) for tables in lineage]
    ends = [rows[rows["step"] == rows["step"].max()] for rows in parts[1:]]
    return pd.concat([parts[0], *ends], ignore_index=True)


def _rows(tables: CourseTables, width: int) -> pd.DataFrame:
    records = tables.records
    layer_records = records[
        (records["level"] == LEVEL) & records["measure"].isin(PANELS) & is_headline(records["variant"])
    ]
    rows = family_means(layer_records, ["site", "layer", "measure"], ["value"])
    rows["value"] = rows["value"].where(rows["measure"] != RANKME, rows["value"] / width)
    tokens = checkpoint_times(tables.series).set_index("step")["tokens"]
    return rows.assign(line=tables.course.name, tokens=rows["step"].map(tokens))[COLUMNS]


@styled
def draw(rows: pd.DataFrame, inputs: TraceFigureInputs) -> Figure:
    """Draw a heatmap of RankMe and one of alpha: layers upwards, the final norm on top; checkpoints to the right."""
    if rows.empty:
        return nothing(TITLE, NOT_TRACED)
    first = rows["line"].iloc[0]
    layers = sorted(rows.loc[rows["site"] != FINAL, "layer"].unique())
    families = len(inputs.courses[first].course.runs)
    later = [name for name in dict.fromkeys(rows["line"]) if name != first]
    figure = sheet(
        2.5 + max(2.0, 0.14 * len(layers)),
        TITLE,
        f"Content tokens after each block (resid_post) and, on top, after the final norm; {first}"
        + (f", means over {families} families" if families > 1 else "")
        + ". Checkpoints stand side by side, whatever time lies between them; "
        + ("at the right the ends of the lines that start from it. " if later else "")
        + "Dashed: turning points of the headline's RankMe.",
    )
    phases = inputs.phases[inputs.phases["line"] == first]
    for axes, measure in zip(figure.subplots(1, 2, sharey=True), PANELS, strict=True):
        _heatmap(figure, axes, rows[rows["measure"] == measure], first, later, layers)
        _turns(axes, rows[rows["line"] == first], phases)
        _ticks(axes, rows, first, later, inputs)
        axes.set_title(PANELS[measure][0], pad=16)
        if measure == RANKME:
            ticks = layers[:: -(-len(layers) // 10)]
            axes.set_yticks([*ticks, _top(layers)], [*map(str, ticks), "final norm"])
            axes.set_ylabel("layer")
    return figure


def _heatmap(figure: Figure, axes, rows: pd.DataFrame, first: str, later: list[str], layers: list[int]) -> None:
    scale = {"vmin": rows["value"].min(), "vmax": rows["value"].max(), "cmap": PANELS[rows["measure"].iloc[0]][1]}
    steps = sorted(rows.loc[rows["line"] == first, "step"].unique())
    for left, name in zip(_left_columns(len(steps), len(later)), [first, *later], strict=True):
        cells = rows[rows["line"] == name].pivot(index=["site", "layer"], columns="step", values="value")
        for site, low in ((FINAL, _top(layers)), ("resid_post", layers[0])):
            values = cells.loc[site].sort_index().to_numpy()  # (layers, checkpoints)
            edges = np.arange(left, left + values.shape[1] + 1) - 0.5, np.arange(low, low + len(values) + 1) - 0.5
            mesh = axes.pcolormesh(*edges, np.ma.masked_invalid(values), **scale)
    for spine in axes.spines.values():
        spine.set_visible(False)
    figure.colorbar(mesh, ax=axes, pad=0.02, aspect=30).outline.set_visible(False)


def _left_columns(checkpoints: int, later: int) -> list[float]:
    """Return the left columns of the first course, and of the end of each later one."""
    return [0, *(checkpoints + GAP + i for i in range(later))]


def _top(layers: list[int]) -> float:
    return layers[-1] + 1 + GAP


def _turns(axes, rows: pd.DataFrame, phases: pd.DataFrame) -> None:
    steps = sorted(rows["step"].unique())
    for step in phases["from_step"].iloc[1:]:
        axes.axvline(steps.index(step), color="#222222", linewidth=1.6)  # visible on every colour
        axes.axvline(steps.index(step), color="white", linewidth=1.6, linestyle=(0, (3, 2)))
        axes.annotate(
            "turn",
            (steps.index(step), 1),
            xycoords=axes.get_xaxis_transform(),
            ha="center",
            va="bottom",
            fontsize=7.5,
            color=GREY,
        )


def _ticks(axes, rows: pd.DataFrame, first: str, later: list[str], inputs: TraceFigureInputs) -> None:
    times = rows[rows["line"] == first].drop_duplicates("step").sort_values("step")
    unit, columns = time_unit(times), _left_columns(len(times), len(later))
    ticks = sorted({0, *range(len(times) - 1, 0, -max(1, -(-len(times) // TICKS)))})
    names = [amount(time) for time in times[unit].iloc[ticks]]
    styles = looks(inputs.courses)
    axes.set_xticks([*ticks, *columns[1:]], [*names, *(styles[name].label for name in later)], rotation=90)
    for label, name in zip(axes.get_xticklabels()[len(ticks) :], later, strict=True):
        label.set_color(styles[name].ink)
    axes.set_xlabel(LABELS[unit])
