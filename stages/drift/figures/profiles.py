"""The cloud of each layer: entropies, ranks, sparsity, extent; and the norms of its tokens, with the sinks visible."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from stages.drift.clouds import CONTENT, WITH_SINKS
from stages.drift.figures.inputs import DriftInputs, mean_by_depth, name_depths
from stages.shared.figure_style import legend, log_ticks, sheet, styled, widths

PROFILE_MEASURES = {
    "effective_rank": "effective rank",
    "numerical_rank": "numerical rank",
    "von_neumann_entropy": "von Neumann entropy",
    "norm_entropy": "entropy of norms",
    "hoyer": "Hoyer sparsity",
    "near_zero": "share near zero",
    "condition_number": "condition number",
    "total_variance": "total variance",
}
LOGARITHMIC = ("condition_number", "total_variance")
NORMS = {"norm_mean": ("mean", 2.0), "norm_maximum": ("largest", 1.0)}


def profile_table(inputs: DriftInputs) -> pd.DataFrame:
    """Return means over tasks and families of `PROFILE_MEASURES`: line, measure, point, value."""
    rows = inputs.profile
    rows = rows[(rows["tokens"] == CONTENT) & rows["measure"].isin(PROFILE_MEASURES)]
    parts = [
        mean_by_depth(measure_rows).assign(measure=measure)
        for measure, measure_rows in rows.groupby("measure", sort=False)
    ]
    return pd.concat(parts, ignore_index=True)[["line", "measure", "point", "value"]]


@styled
def draw_profile(rows: pd.DataFrame, inputs: DriftInputs) -> Figure:
    """Draw a panel for each measure."""
    figure = sheet(
        4.9,
        "What the cloud of each layer looks like",
        f"Content tokens in residual space ({_count(inputs)} a task), centred spectra, mean over tasks and families. emb: "
        "embedding, norm: after the final norm. Entropies: of the spectrum in nats; of norms as a share of n, 1 where all "
        "tokens are as long.",
    )
    line_widths, depths = widths(inputs.styles), int(rows["point"].max()) + 1
    for axes, (measure, label) in zip(figure.subplots(2, 4).ravel(), PROFILE_MEASURES.items(), strict=True):
        for recipe, look in inputs.styles.items():
            curve = rows[(rows["measure"] == measure) & (rows["line"] == recipe)]
            line = {"color": look.colour, "linestyle": look.dash, "linewidth": line_widths[recipe]}
            axes.plot(curve["point"], curve["value"], **line)
        axes.set_title(label)
        if measure in LOGARITHMIC:
            axes.set_yscale("log")
            log_ticks(axes.yaxis)
        name_depths(axes.xaxis, depths)
        axes.tick_params(axis="x", rotation=90, labelsize=7)
    legend(figure, _handles(inputs), inputs.columns)
    return figure


def norms_table(inputs: DriftInputs) -> pd.DataFrame:
    """Return mean and largest norm with and without sinks: line, tokens, measure, point, value."""
    rows = inputs.profile[inputs.profile["measure"].isin(NORMS)]
    parts = [
        mean_by_depth(norm_rows).assign(tokens=tokens, measure=measure)
        for (tokens, measure), norm_rows in rows.groupby(["tokens", "measure"], sort=False)
    ]
    return pd.concat(parts, ignore_index=True)[["line", "tokens", "measure", "point", "value"]]


@styled
def draw_norms(rows: pd.DataFrame, inputs: DriftInputs) -> Figure:
    """Draw the norms of content tokens, and beside them of the clouds that hold position 0 of every prompt."""
    figure = sheet(
        3.8,
        "Lengths of tokens, without and with the sinks",
        "Norms in residual space, mean over tasks and families; thick: mean, thin: largest of a cloud. Left: content "
        "tokens. Right: position 0 of each prompt in place of one of its tokens. A massive sink would lift the right thin "
        "line far above the left one.",
    )
    depths = int(rows["point"].max()) + 1
    panels = figure.subplots(1, 2, sharey=True)
    titles = {CONTENT: "content tokens", WITH_SINKS: "with position 0"}
    for axes, (tokens, label) in zip(panels, titles.items(), strict=True):
        for recipe, look in inputs.styles.items():
            for measure, (_, width) in NORMS.items():
                curve = rows[(rows["line"] == recipe) & (rows["tokens"] == tokens) & (rows["measure"] == measure)]
                axes.plot(curve["point"], curve["value"], color=look.colour, linestyle=look.dash, linewidth=width)
        axes.set_yscale("log")
        log_ticks(axes.yaxis)
        axes.set_title(label)
        name_depths(axes.xaxis, depths)
    panels[0].set_ylabel("norm")
    legend(figure, _handles(inputs), inputs.columns)
    return figure


def _handles(inputs: DriftInputs) -> list[Line2D]:
    return [Line2D([], [], color=look.colour, linestyle=look.dash, label=look.label) for look in inputs.styles.values()]


def _count(inputs: DriftInputs) -> str:
    """Return the number of content tokens of a task, or the range of numbers, in words."""
    counts = inputs.profile.loc[inputs.profile["tokens"] == CONTENT, "n"]
    return f"{counts.min()}" if counts.min() == counts.max() else f"{counts.min()} to {counts.max()}"
