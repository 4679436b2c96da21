"""The figure of eigenvalue spectra along pretraining and at the ends of post-training, with their power laws."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from stages.geometry.spectrum import Spectrum, decay_ranks
from stages.shared.checks import DecayRanks
from stages.shared.figure_style import GREY, legend, log_ticks, looks, nothing, sheet, styled
from stages.trace.figures.inputs import (
    NOT_TRACED,
    CourseTables,
    TraceFigureInputs,
    headline_place,
    main_lineage,
    parent_tables,
)
from stages.trace.figures.time import amount
from stages.trace.series import headline_rows, is_headline
from stages.trace.tables import read_spectra

TITLE = "Eigenvalue spectra along training, and the power laws fitted to them"
# Largest number of checkpoints of pretraining that are drawn.
PANELS = 8
# Number of ranks that are drawn of a spectrum, evenly spaced on a logarithmic axis, the fitted range's ends among them.
POINTS = 40
COLUMNS = [
    "line",
    "run",
    "step",
    "tokens",
    "behind",
    "rank",
    "share",
    "behind_share",
    "fit",
    "alpha",
    "r2",
    "fitted_share",
]
ACROSS = 4
FIT_COLOUR, BACKGROUND, DASH = "#b3261e", "#c4c4c4", (0, (4, 1.5))


def table(inputs: TraceFigureInputs, traces: Path, decay: DecayRanks) -> pd.DataFrame:
    """Return columns COLUMNS: share of the variance by rank, that of the spectrum ``behind`` it, and the fitted power law.

    The law is empty outside the fitted ranks. Behind a checkpoint of pretraining is its first one, behind the end of
    another course its parent's end. Of several families the first one is taken.
    """
    lineage = main_lineage(inputs.courses)
    if not lineage:
        return pd.DataFrame(columns=COLUMNS)
    first = lineage[0]
    spectra = {tables.course.name: _spectra(tables, traces, inputs) for tables in lineage}
    steps = first.families[0].steps
    start = (f"{first.course.name} at step {int(steps[0])}", spectra[first.course.name][int(steps[0])])
    parts = [
        _rows(first, step, spectra[first.course.name][step], start, inputs, decay)
        for step in drawn_steps(steps, inputs.phases[inputs.phases["line"] == first.course.name])
    ]
    for tables in lineage[1:]:
        parent = parent_tables(tables, lineage)
        end = (f"{parent.course.name} at its end", spectra[parent.course.name][int(parent.families[0].steps[-1])])
        step = int(tables.families[0].steps[-1])
        parts.append(_rows(tables, step, spectra[tables.course.name][step], end, inputs, decay))
    return pd.concat(parts, ignore_index=True)


def drawn_steps(steps: np.ndarray, phases: pd.DataFrame) -> list[int]:
    """Return at most PANELS steps: the first, the last, the turning points, and others even in ln(step + 1)."""
    turns = [int(np.abs(steps - step).argmin()) for step in phases["from_step"].iloc[1:]][: PANELS - 2]
    picked = {0, len(steps) - 1, *turns}
    logs = np.log1p(steps.astype(float))
    while len(picked) < min(PANELS, len(steps)):
        taken = np.array(sorted(picked))
        apart = np.abs(logs[:, None] - logs[taken]).min(axis=1)  # (T,) distance to the nearest one that is drawn
        picked.add(int(apart.argmax()) if apart.max() > 0 else next(i for i in range(len(steps)) if i not in picked))
    return [int(steps[i]) for i in sorted(picked)]


def _spectra(tables: CourseTables, traces: Path, inputs: TraceFigureInputs) -> dict[int, pd.DataFrame]:
    """Return the spectra of the course's first run at the headline's place, by step."""
    rows = read_spectra(traces / tables.course.runs[0], inputs.headline.level, inputs.headline.site)
    rows = rows[rows["layer"] == rows["layer"].max()]
    return {int(step): spectrum.sort_values("rank") for step, spectrum in rows.groupby("step")}


def _rows(
    tables: CourseTables,
    step: int,
    spectrum: pd.DataFrame,
    background: tuple[str, pd.DataFrame],
    inputs: TraceFigureInputs,
    decay: DecayRanks,
) -> pd.DataFrame:
    """Return the rows of one panel; ``background`` is the name and the spectrum of what is drawn behind it."""
    share, n = _share(spectrum), int(spectrum["n"].iloc[0])
    ranks = np.arange(1, len(share) + 1)
    fit = fits(tables, step, inputs)
    law, ends = _power_law(share, n, fit["alpha"], decay)
    drawn_ranks = np.unique([*np.geomspace(1, len(ranks), POINTS).round().astype(int), *ends]) - 1
    series = tables.families[0]
    return pd.DataFrame(
        {
            "line": tables.course.name,
            "run": tables.course.runs[0],
            "step": step,
            "tokens": float(series.tokens[series.steps == step][0]),
            "behind": background[0],
            "rank": ranks,
            "share": share,
            "behind_share": pd.Series(_share(background[1])).reindex(range(len(ranks))),
            "fit": law,
            "alpha": fit["alpha"],
            "r2": fit["alpha_r2"],
            "fitted_share": fit["alpha_share"],
        }
    ).iloc[drawn_ranks]


def fits(tables: CourseTables, step: int, inputs: TraceFigureInputs) -> dict[str, float]:
    """Return alpha, alpha_r2 and alpha_share of the course's first run at ``step``."""
    rows = headline_rows(tables.records, inputs.headline)
    rows = rows[(rows["run"] == tables.course.runs[0]) & (rows["step"] == step) & is_headline(rows["variant"])]
    return {
        name: float(rows.loc[rows["measure"] == name, "value"].iloc[0]) for name in ("alpha", "alpha_r2", "alpha_share")
    }


def _power_law(share: np.ndarray, n: int, alpha: float, decay: DecayRanks) -> tuple[np.ndarray, list[int]]:
    """Return the fitted law (r,) of the exponent ``alpha``, NaN outside the fitted ranks, and the first and last of these."""
    law, ranks = np.full(len(share), np.nan), np.arange(1, len(share) + 1)
    if not np.isfinite(alpha):
        return law, []
    # As the tables' fit: the ranks that half of the rows have too, and each octave of them alike.
    first, last = decay_ranks(Spectrum(np.sqrt(share), n // 2, len(share), True), decay.first, decay.last)
    fitted = ranks[first - 1 : last]
    level = np.average(np.log(share[fitted - 1]) + alpha * np.log(fitted), weights=1 / fitted)
    law[fitted - 1] = np.exp(level) * fitted**-alpha
    return law, [first, last]


def _share(spectrum: pd.DataFrame) -> np.ndarray:
    values = spectrum["eigenvalue"].to_numpy()
    return values / values.sum()


@styled
def draw(rows: pd.DataFrame, inputs: TraceFigureInputs) -> Figure:
    """Draw a panel for some checkpoints of pretraining, and for the end of each later course."""
    if rows.empty:
        return nothing(TITLE, NOT_TRACED)
    styles, first = looks(inputs.courses), rows["line"].iloc[0]
    panels = [panel for _, panel in rows.groupby(["line", "step"], sort=False)]
    down = -(-len(panels) // ACROSS)
    figure = sheet(
        1.35 + 1.75 * down,
        TITLE,
        f"Shares of the variance by rank. {headline_place(inputs.headline)}. Red: the power law over the ranks that α is fitted to, "
        "its R² and these ranks' share of the variance. Grey, behind pretraining: its first checkpoint; "
        "behind what follows: the end that it starts from."
        + (
            f" Of {rows['run'].iloc[0]} and what starts from it; other families are in the means of the other figures."
            if len(inputs.courses[first].families) > 1
            else ""
        ),
    )
    grid = figure.subplots(down, ACROSS, sharex=True, sharey=True, squeeze=False)
    phases = inputs.phases[inputs.phases["line"] == first]
    for axes, panel in zip(grid.flat, panels, strict=False):
        _panel(axes, panel, styles[panel["line"].iloc[0]])
        axes.set_title(_title(panel, first, phases, styles), fontsize=8.5)
    for axes in grid.flat[len(panels) :]:
        axes.remove()
    for axes in grid[:, 0]:
        axes.set_ylabel("share of variance")
    for axes in grid[-1]:
        axes.set_xlabel("rank")
    log_ticks(grid[0, 0].xaxis)
    handles = [
        Line2D([], [], color=styles[name].colour, linewidth=1.8, label=styles[name].label)
        for name in dict.fromkeys(rows["line"])
    ]
    legend(
        figure,
        [
            *handles,
            Line2D([], [], color=FIT_COLOUR, linewidth=1.4, linestyle=DASH, label="fitted power law"),
            Line2D([], [], color=BACKGROUND, linewidth=2.4, label="first checkpoint, or parent's end"),
        ],
        6,
    )
    return figure


def _panel(axes, panel: pd.DataFrame, look) -> None:
    axes.plot(panel["rank"], panel["behind_share"], color=BACKGROUND, linewidth=2.6, label="behind")
    axes.plot(panel["rank"], panel["share"], color=look.colour, linewidth=1.6, label="share")
    axes.plot(panel["rank"], panel["fit"], color=FIT_COLOUR, linewidth=1.4, linestyle=DASH, label="fit")
    axes.set(xscale="log", yscale="log")
    axes.minorticks_off()
    row = panel.iloc[0]
    label = "no fit: too few ranks"
    if np.isfinite(row["alpha"]):
        label = f"α = {row['alpha']:.3f}\nR² = {row['r2']:.3f}\n{100 * row['fitted_share']:.0f} % of variance"
    axes.text(
        0.04,
        0.05,
        label,
        transform=axes.transAxes,
        va="bottom",
        fontsize=8,
        color=FIT_COLOUR if np.isfinite(row["alpha"]) else GREY,
    )


def _title(panel: pd.DataFrame, first: str, phases: pd.DataFrame, styles: dict) -> str:
    """Return step and tokens, and what the checkpoint is; or the course whose end it is."""
    row = panel.iloc[0]
    if row["line"] != first:
        return f"{styles[row['line']].label}, end (step {row['step']})"
    time = f"step {row['step']}" + (f", {amount(row['tokens'])} tokens" if row["tokens"] > 0 else "")
    turn = " (turn)" if row["step"] in set(phases["from_step"].iloc[1:]) else ""
    return ("untrained" if row["step"] == 0 else time) + turn
