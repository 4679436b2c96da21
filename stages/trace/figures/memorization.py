"""The figure of what training memorises: the likelihood of answers by their count in the corpus, and RankMe."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from stages.shared.figure_style import looks, nothing, sheet, styled
from stages.trace.figures.inputs import NOT_TRACED, CourseTables, TraceFigureInputs, headline_place, main_lineage
from stages.trace.figures.time import (
    LABELS,
    PHASES,
    amount,
    axis_positions,
    grouped_legend,
    phase_patches,
    shade_phases,
    sorted_strata,
    step_positions,
    stratum_greys,
    time_axis,
    time_unit,
)

TITLE = "Memorization along training, and RankMe"
KINDS = {"arbitrary": "#B2467A", "inferable": "#2E7D6B", "all": "#222222"}
DASH = (0, (3, 1.5))
COLUMNS = ["line", "run", "step", "tokens", "kind", "stratum", "quantity", "value", "low", "high", "rankme"]


def table(inputs: TraceFigureInputs) -> pd.DataFrame:
    """Return columns COLUMNS, of the first run of each course.

    Quantities: `rho`, Spearman's with the count in the corpus; `greedy`, the share of answers that are the likeliest
    continuation, by stratum; `log_likelihood`, mean of the answers that occur in the corpus, with the RankMe of the
    checkpoint.
    """
    counted = set(inputs.support["line"])
    parts = [_rows(tables, inputs) for tables in main_lineage(inputs.courses) if tables.course.name in counted]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=COLUMNS)


def _rows(tables: CourseTables, inputs: TraceFigureInputs) -> pd.DataFrame:
    name, series = tables.course.name, tables.families[0]
    rho = inputs.correlations[(inputs.correlations["line"] == name) & (inputs.correlations["support"] == "count")]
    support = inputs.support[inputs.support["line"] == name]
    rankme = dict(zip(series.steps, np.exp(series.ln_rankme), strict=True))
    tokens = dict(zip(series.steps, series.tokens, strict=True))
    rows = pd.concat(
        [
            rho.rename(columns={"rho": "value"}).assign(quantity="rho"),
            support.rename(columns={"greedy": "value"}).assign(quantity="greedy"),
            _occurring(support).assign(quantity="log_likelihood"),
        ]
    )
    rows = rows.assign(
        line=name, run=tables.course.runs[0], tokens=rows["step"].map(tokens), rankme=rows["step"].map(rankme)
    )
    return rows.reindex(columns=COLUMNS)


def _occurring(support: pd.DataFrame) -> pd.DataFrame:
    """Return the mean log-likelihood over all answers but those of the lowest stratum, by kind, with an interval over answers."""
    rows = support[~support["stratum"].map(lambda name: name == "0" or name.startswith("0-"))]
    weighted = rows.assign(sum=rows["n"] * rows["log_likelihood"], square=(rows["n"] * rows["standard_error"]) ** 2)
    sums = weighted.groupby(["kind", "step"])[["sum", "square", "n"]].sum().reset_index()
    value, half = sums["sum"] / sums["n"], 1.96 * np.sqrt(sums["square"]) / sums["n"]
    return sums[["kind", "step"]].assign(value=value, low=value - half, high=value + half)


@styled
def draw(rows: pd.DataFrame, inputs: TraceFigureInputs) -> Figure:
    """Draw the correlation with the count, the answers given, and likelihood against RankMe, from left to right."""
    if not inputs.courses:
        return nothing(TITLE, NOT_TRACED)
    if rows.empty:
        return nothing(
            TITLE,
            "No traced line has a corpus in which its answers were counted: see `ngrams` in params.yaml, and `corpus` in data/registry/runs.yaml.",
        )
    first = rows["line"].iloc[0]
    kind = main_kind(rows)
    figure = sheet(
        4.6,
        TITLE,
        f"{rows['run'].iloc[0]} and what starts from it. Left: Spearman's ρ between the log-likelihood of answers and their "
        f"count in the corpus, with {100 * inputs.confidence:g} % intervals over answers. Middle: share of answers that are the likeliest "
        f"continuation, by their count in the corpus. Right: {kind} answers that occur in the corpus, one point a checkpoint, "
        f"bars 95 % over answers; RankMe: {headline_place(inputs.headline).lower()}. It describes one course of training and proves no cause.",
    )
    left, middle, right = figure.subplots(1, 3, width_ratios=[1, 1, 1.25])
    phases, first_rows = inputs.phases[inputs.phases["line"] == first], rows[rows["line"] == first]
    unit = time_unit(first_rows)
    for axes, title, label in (
        (left, "Correlation with the count", "Spearman's ρ"),
        (middle, "Answers given", "likeliest continuation, %"),
    ):
        time_axis(axes, first_rows[unit], unit, 4)
        shade_phases(axes, phases, step_positions(first_rows))
        axes.set(title=title, ylabel=label)
    _correlations(left, first_rows[first_rows["quantity"] == "rho"], unit)
    _greedy(middle, first_rows[first_rows["quantity"] == "greedy"], unit)
    likelihoods = rows[(rows["quantity"] == "log_likelihood") & (rows["kind"] == kind)]
    _against_rankme(figure, right, likelihoods, phases, unit, inputs)
    grouped_legend(figure, _handles(rows, phases, first, looks(inputs.courses)))
    return figure


def main_kind(rows: pd.DataFrame) -> str:
    """Return the kind of answers that can only be memorised, arbitrary ones; all where kinds are not told apart."""
    kinds = set(rows["kind"])
    return "arbitrary" if "arbitrary" in kinds else sorted(kinds)[0]


def _correlations(axes, rows: pd.DataFrame, unit: str) -> None:
    axes.axhline(0, color="#777777", linewidth=0.8)
    for kind, curve in rows.groupby("kind"):
        positions, colour = axis_positions(curve[unit]), _colour(kind)
        axes.plot(positions, curve["value"], color=colour, linewidth=1.7, label=kind)
        axes.fill_between(positions, curve["low"], curve["high"], color=colour, alpha=0.22, linewidth=0)


def _greedy(axes, rows: pd.DataFrame, unit: str) -> None:
    for kind, kind_rows in rows.groupby("kind"):
        colours = stratum_greys(sorted_strata(kind_rows["stratum"]))
        for stratum, curve in kind_rows.groupby("stratum"):
            dash = DASH if kind == "inferable" else "-"
            axes.plot(
                axis_positions(curve[unit]),
                100 * curve["value"],
                color=colours[stratum],
                linestyle=dash,
                linewidth=1.5,
                label=f"{kind} {stratum}",
            )


def _against_rankme(
    figure: Figure, axes, rows: pd.DataFrame, phases: pd.DataFrame, unit: str, inputs: TraceFigureInputs
) -> None:
    """Draw points in the order of training, joined; each joint lies on the colour of its phase."""
    first = rows["line"].iloc[0]
    pretraining = rows[rows["line"] == first].sort_values("step")
    for stretch in phases.itertuples():
        phase_rows = pretraining[pretraining["step"].between(stretch.from_step, stretch.to_step)]
        axes.plot(
            phase_rows["rankme"],
            phase_rows["value"],
            color=PHASES[stretch.label],
            linewidth=7,
            solid_capstyle="round",
            zorder=1,
        )
    axes.errorbar(
        pretraining["rankme"],
        pretraining["value"],
        yerr=pretraining["high"] - pretraining["value"],
        fmt="none",
        ecolor="#bbbbbb",
        elinewidth=0.8,
        zorder=2,
    )
    axes.plot(pretraining["rankme"], pretraining["value"], color="#777777", linewidth=0.8, zorder=2)
    log_times = np.log10(axis_positions(pretraining[unit]))
    points = axes.scatter(
        pretraining["rankme"], pretraining["value"], c=log_times, cmap="viridis", s=26, zorder=3, label="pretraining"
    )
    for step in phases["from_step"].iloc[1:]:
        turn = pretraining[pretraining["step"] == step]
        axes.plot(turn["rankme"], turn["value"], "D", markerfacecolor="none", color="#b3261e", markersize=8, zorder=4)
    later = [name for name in dict.fromkeys(rows["line"]) if name != first]
    for number, name in enumerate(later):  # smaller and smaller, so that ends which coincide stay visible
        end = rows[rows["line"] == name].tail(1)
        size = 16 - 8 * number / max(1, len(later) - 1)
        colour = looks(inputs.courses)[name].colour
        axes.plot(
            end["rankme"],
            end["value"],
            "*",
            color=colour,
            markersize=size,
            markeredgecolor="white",
            markeredgewidth=0.5,
            zorder=2.5,
        )
    bar = figure.colorbar(points, ax=axes, pad=0.02, aspect=30)
    ticks = [tick for tick in range(int(np.ceil(log_times.min())), int(np.floor(log_times.max())) + 1)]
    bar.set_ticks(ticks, labels=[amount(10.0**tick) for tick in ticks])
    bar.outline.set_visible(False)
    bar.set_label(LABELS[unit])
    axes.set(title="Likelihood against RankMe", xlabel="RankMe", ylabel="mean log-likelihood, nats")


def _colour(kind: str) -> str:
    return KINDS.get(kind, "#222222")


def _handles(rows: pd.DataFrame, phases: pd.DataFrame, first: str, styles: dict) -> dict[str, list]:
    groups = {"Phases": phase_patches(phases)}
    if len(phases) > 1:
        groups["Phases"].append(
            Line2D([], [], linestyle="none", marker="D", markerfacecolor="none", color="#b3261e", label="turning point")
        )
    greedy = rows[(rows["line"] == first) & (rows["quantity"] == "greedy")]
    groups["Kind (left)"] = [
        Line2D([], [], color=_colour(kind), linewidth=1.7, label=kind) for kind in sorted(set(greedy["kind"]))
    ]
    for kind, kind_rows in greedy.groupby("kind"):
        groups[f"Count, {kind}"] = [
            Line2D(
                [],
                [],
                color=colour,
                linewidth=1.5,
                linestyle=DASH if kind == "inferable" else "-",
                label=stratum,
            )
            for stratum, colour in stratum_greys(sorted_strata(kind_rows["stratum"])).items()
        ]
    groups["Ends (right)"] = [
        Line2D([], [], linestyle="none", marker="*", markersize=10, color=styles[name].colour, label=styles[name].label)
        for name in dict.fromkeys(rows["line"])
        if name != first
    ]
    return groups
