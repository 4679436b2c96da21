"""What the cloud of each layer looks like: entropies, ranks, sparsity, extent; and norms, with the sinks visible."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from stages.drift.clouds import CONTENT, WITH_SINKS
from stages.drift.figures.inputs import Inputs, mean_by_point, name_points
from stages.shared.figure_style import legend, log_ticks, sheet, styled, widths

SHOWN = {
    "effective_rank": "effective rank", "numerical_rank": "numerical rank", "von_neumann_entropy": "von Neumann entropy",
    "norm_entropy": "entropy of norms", "hoyer": "Hoyer sparsity", "near_zero": "share near zero",
    "condition_number": "condition number", "total_variance": "total variance",
}  # fmt: skip
LOGARITHMIC = ("condition_number", "total_variance")
NORMS = {"norm_mean": ("mean", 2.0), "norm_maximum": ("largest", 1.0)}


def profile_table(read: Inputs) -> pd.DataFrame:
    """Means over tasks and families of SHOWN: line, measure, point, value."""
    rows = read.profile[(read.profile["tokens"] == CONTENT) & read.profile["measure"].isin(SHOWN)]
    parts = [mean_by_point(own).assign(measure=measure) for measure, own in rows.groupby("measure", sort=False)]
    return pd.concat(parts, ignore_index=True)[["line", "measure", "point", "value"]]


@styled
def draw_profile(rows: pd.DataFrame, read: Inputs) -> Figure:
    """A panel for each measure."""
    figure = sheet(
        4.9, "What the cloud of each layer looks like",
        f"Content tokens in residual space ({_count(read)} a task), centred spectra, mean over tasks and families. emb: embedding, "
        "norm: after the final norm. Entropies: of the spectrum in nats; of norms as a share of n, 1 where all tokens are as long.",
    )  # fmt: skip
    lines, points = widths(read.styles), int(rows["point"].max()) + 1
    for axes, (measure, label) in zip(figure.subplots(2, 4).ravel(), SHOWN.items(), strict=True):
        here = rows[rows["measure"] == measure]
        for line, look in read.styles.items():
            own = here[here["line"] == line]
            axes.plot(own["point"], own["value"], color=look.colour, linestyle=look.dash, linewidth=lines[line])
        axes.set_title(label)
        if measure in LOGARITHMIC:
            axes.set_yscale("log")
            log_ticks(axes.yaxis)
        name_points(axes.xaxis, points)
        axes.tick_params(axis="x", rotation=90, labelsize=7)
    legend(figure, _handles(read), read.columns)
    return figure


def norms_table(read: Inputs) -> pd.DataFrame:
    """Mean and largest norm with and without sinks: line, tokens, measure, point, value."""
    rows = read.profile[read.profile["measure"].isin(NORMS)]
    parts = [
        mean_by_point(own).assign(tokens=tokens, measure=measure)
        for (tokens, measure), own in rows.groupby(["tokens", "measure"], sort=False)
    ]
    return pd.concat(parts, ignore_index=True)[["line", "tokens", "measure", "point", "value"]]


@styled
def draw_norms(rows: pd.DataFrame, read: Inputs) -> Figure:
    """Content tokens, and beside them the clouds that hold position 0 of every prompt."""
    figure = sheet(
        3.8, "Lengths of tokens, without and with the sinks",
        "Norms in residual space, mean over tasks and families; thick: mean, thin: largest of a cloud. Left: content tokens. Right: "
        "position 0 of each prompt in place of one of its tokens. A massive sink would lift the right thin line far above the left one.",
    )  # fmt: skip
    points = int(rows["point"].max()) + 1
    panels = figure.subplots(1, 2, sharey=True)
    for axes, (tokens, label) in zip(
        panels, ((CONTENT, "content tokens"), (WITH_SINKS, "with position 0")), strict=True
    ):
        for line, look in read.styles.items():
            for measure, (_, width) in NORMS.items():
                own = rows[(rows["line"] == line) & (rows["tokens"] == tokens) & (rows["measure"] == measure)]
                axes.plot(own["point"], own["value"], color=look.colour, linestyle=look.dash, linewidth=width)
        axes.set_yscale("log")
        log_ticks(axes.yaxis)
        axes.set_title(label)
        name_points(axes.xaxis, points)
    panels[0].set_ylabel("norm")
    legend(figure, _handles(read), read.columns)
    return figure


def _handles(read: Inputs) -> list[Line2D]:
    return [Line2D([], [], color=look.colour, linestyle=look.dash, label=look.label) for look in read.styles.values()]


def _count(read: Inputs) -> str:
    found = read.profile.loc[read.profile["tokens"] == CONTENT, "n"]
    return f"{found.min()}" if found.min() == found.max() else f"{found.min()} to {found.max()}"
