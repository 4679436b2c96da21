"""Eigenvalue spectra along pretraining and at the ends of post-training, with the power laws fitted to them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from stages.geometry.spectrum import Spectrum, decay_ranks
from stages.shared.checks import DecayRanks
from stages.shared.figure_style import GREY, legend, log_ticks, looks, nothing, sheet, styled
from stages.trace.figures.inputs import NOT_TRACED, Inputs, Traced, course, where
from stages.trace.figures.time import amount
from stages.trace.series import at_headline, is_headline
from stages.trace.tables import read_spectra

TITLE = "Eigenvalue spectra along training, and the power laws fitted to them"
PANELS = 8
"""Checkpoints of pretraining shown."""
POINTS = 40
"""Ranks kept of a spectrum, evenly spaced on a logarithmic axis, the fitted range's ends among them."""
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
FIT, BEHIND, DASH = "#b3261e", "#c4c4c4", (0, (4, 1.5))


def table(read: Inputs, traces: Path, decay: DecayRanks) -> pd.DataFrame:
    """Columns COLUMNS: share of the variance by rank, that of the spectrum ``behind`` it, and the fitted power law, empty
    beside the fitted ranks. Behind a checkpoint of pretraining is its first one, behind the end of another line its
    parent's end. Of several families the first one.
    """
    found = course(read.lines)
    if not found:
        return pd.DataFrame(columns=COLUMNS)
    first = found[0]
    spectra = {one.line.name: _spectra(one, traces, read) for one in found}
    steps = first.families[0].steps
    start = (f"{first.line.name} at step {int(steps[0])}", spectra[first.line.name][int(steps[0])])
    shown = [
        _rows(first, step, spectra[first.line.name][step], start, read, decay)
        for step in chosen(steps, read.phases[read.phases["line"] == first.line.name])
    ]
    for one in found[1:]:
        parent = next(other for other in found if other.line.name == one.line.parent)
        behind = (f"{parent.line.name} at its end", spectra[parent.line.name][int(parent.families[0].steps[-1])])
        step = int(one.families[0].steps[-1])
        shown.append(_rows(one, step, spectra[one.line.name][step], behind, read, decay))
    return pd.concat(shown, ignore_index=True)


def chosen(steps: np.ndarray, phases: pd.DataFrame) -> list[int]:
    """At most PANELS steps: the first, the last, the turning points, and others even in ln(step + 1)."""
    turns = [int(np.abs(steps - step).argmin()) for step in phases["from_step"].iloc[1:]][: PANELS - 2]
    picked = {0, len(steps) - 1, *turns}
    logs = np.log1p(steps.astype(float))
    while len(picked) < min(PANELS, len(steps)):
        taken = np.array(sorted(picked))
        apart = np.abs(logs[:, None] - logs[taken]).min(axis=1)  # (T,) distance to the nearest one that is shown
        picked.add(int(apart.argmax()) if apart.max() > 0 else next(i for i in range(len(steps)) if i not in picked))
    return [int(steps[i]) for i in sorted(picked)]


def _spectra(one: Traced, traces: Path, read: Inputs) -> dict[int, pd.DataFrame]:
    """By step, at the headline's place, of the line's first run."""
    rows = read_spectra(traces / one.line.runs[0], read.headline.level, read.headline.site)
    rows = rows[rows["layer"] == rows["layer"].max()]
    return {int(step): of_one.sort_values("rank") for step, of_one in rows.groupby("step")}


def _rows(
    one: Traced, step: int, own: pd.DataFrame, behind: tuple[str, pd.DataFrame], read: Inputs, decay: DecayRanks
) -> pd.DataFrame:
    share, n = _share(own), int(own["n"].iloc[0])
    ranks = np.arange(1, len(share) + 1)
    fit = fits(one, step, read)
    law, ends = _power_law(share, n, fit["alpha"], decay)
    kept = np.unique([*np.geomspace(1, len(ranks), POINTS).round().astype(int), *ends]) - 1
    series = one.families[0]
    return pd.DataFrame(
        {"line": one.line.name, "run": one.line.runs[0], "step": step, "tokens": float(series.tokens[series.steps == step][0]),
         "behind": behind[0], "rank": ranks, "share": share,
         "behind_share": pd.Series(_share(behind[1])).reindex(range(len(ranks))), "fit": law,
         "alpha": fit["alpha"], "r2": fit["alpha_r2"], "fitted_share": fit["alpha_share"]}
    ).iloc[kept]  # fmt: skip


def fits(one: Traced, step: int, read: Inputs) -> dict[str, float]:
    """alpha, alpha_r2 and alpha_share of the line's first run at ``step``."""
    rows = at_headline(one.records, read.headline)
    rows = rows[(rows["run"] == one.line.runs[0]) & (rows["step"] == step) & is_headline(rows["variant"])]
    return {
        name: float(rows.loc[rows["measure"] == name, "value"].iloc[0]) for name in ("alpha", "alpha_r2", "alpha_share")
    }


def _power_law(share: np.ndarray, n: int, alpha: float, decay: DecayRanks) -> tuple[np.ndarray, list[int]]:
    """The fitted law (r,) of the exponent ``alpha``, NaN beside the fitted ranks, and the first and the last of these."""
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
def draw(rows: pd.DataFrame, read: Inputs) -> Figure:
    """A panel for each checkpoint shown of pretraining, and for the end of each line that follows."""
    if rows.empty:
        return nothing(TITLE, NOT_TRACED)
    styles, first = looks(read.lines), rows["line"].iloc[0]
    panels = [panel for _, panel in rows.groupby(["line", "step"], sort=False)]
    down = -(-len(panels) // ACROSS)
    figure = sheet(
        1.35 + 1.75 * down, TITLE,
        f"Shares of the variance by rank. {where(read.headline)}. Red: the power law over the ranks that α is fitted to, "
        "its R² and these ranks' share of the variance. Grey, behind pretraining: its first checkpoint; "
        "behind what follows: the end that it starts from."
        + (f" Of {rows['run'].iloc[0]} and what starts from it; other families are in the means of the other figures."
           if len(read.lines[first].families) > 1 else ""),
    )  # fmt: skip
    grid = figure.subplots(down, ACROSS, sharex=True, sharey=True, squeeze=False)
    phases = read.phases[read.phases["line"] == first]
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
    legend(figure, [*handles, Line2D([], [], color=FIT, linewidth=1.4, linestyle=DASH, label="fitted power law"),
                    Line2D([], [], color=BEHIND, linewidth=2.4, label="first checkpoint, or parent's end")], 6)  # fmt: skip
    return figure


def _panel(axes, panel: pd.DataFrame, look) -> None:
    axes.plot(panel["rank"], panel["behind_share"], color=BEHIND, linewidth=2.6, label="behind")
    axes.plot(panel["rank"], panel["share"], color=look.colour, linewidth=1.6, label="share")
    axes.plot(panel["rank"], panel["fit"], color=FIT, linewidth=1.4, linestyle=DASH, label="fit")
    axes.set(xscale="log", yscale="log")
    axes.minorticks_off()
    one = panel.iloc[0]
    text = "no fit: too few ranks"
    if np.isfinite(one["alpha"]):
        text = f"α = {one['alpha']:.3f}\nR² = {one['r2']:.3f}\n{100 * one['fitted_share']:.0f} % of variance"
    axes.text(
        0.04,
        0.05,
        text,
        transform=axes.transAxes,
        va="bottom",
        fontsize=8,
        color=FIT if np.isfinite(one["alpha"]) else GREY,
    )


def _title(panel: pd.DataFrame, first: str, phases: pd.DataFrame, styles: dict) -> str:
    """Step and tokens, and what the checkpoint is; or whose end it is."""
    one = panel.iloc[0]
    if one["line"] != first:
        return f"{styles[one['line']].label}, end (step {one['step']})"
    when = f"step {one['step']}" + (f", {amount(one['tokens'])} tokens" if one["tokens"] > 0 else "")
    turn = " (turn)" if one["step"] in set(phases["from_step"].iloc[1:]) else ""
    return ("untrained" if one["step"] == 0 else when) + turn
