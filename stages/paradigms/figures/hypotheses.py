"""The figure of the declared hypotheses: estimates, intervals, margins and verdicts."""

from __future__ import annotations

import textwrap

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from stages.shared.figure_style import GREY, LOOKS, legend, sheet, styled

QUANTITIES = {"preservation_index": "preservation", "effective_rank": "effective rank"}
EFFECTS = {
    "total": "total effect", "at_matched_displacement": "at matched displacement",
    "at_matched_kl": "at matched KL", "on_policy": "against on-policy SFT",
}  # fmt: skip
# Position in the text: its words; the last token of the prompt goes without saying.
POSITIONS = {
    "mean": " (mean of the prompt)", "reasoning_middle": " in the middle of reasoning", "reasoning_end": " after reasoning",
}  # fmt: skip
# Verdict: its colour; the undecided are grey.
COLOURS = {"strong": "#0072B2", "moderate": "#0072B2", "equivalent": "#222222", "reversed": "#D55E00"}
EQUIVALENT, MODERATE, STRONG, REVERSED = "#dedede", "#d6e6f2", "#a9cbe4", "#f7dcc8"


def claim(row: pd.Series) -> str:
    """Return the hypothesis in words, on two lines."""
    more, less = (LOOKS[name].label if name in LOOKS else name for name in (row["more"], row["less"]))
    position = POSITIONS.get(row.get("aggregation"), "")
    return f"{more} − {less}\n{QUANTITIES.get(row['quantity'], row['quantity'])}{position}, {EFFECTS.get(row['effect'], row['effect'])}"


@styled
def draw(rows: pd.DataFrame, strong: float, moderate: float, equivalent: float, confidence: float) -> Figure:
    """Draw a forest plot of ``rows`` (`plots/hypotheses.csv`) in the order of their declaration, margins shaded.

    Untested hypotheses keep their row, with the reason in place of an estimate.
    """
    scopes = rows["scope"].dropna().unique() if "scope" in rows else []
    reading = (
        f"Difference with its {100 * confidence:g} % interval. Verdicts need the whole interval inside a shaded region."
    )
    replicated = "families" in rows and (rows["families"] > 1).any()
    size = (
        ["d: mean difference over the sd of families (Cohen's d_z)."]
        if replicated and rows["cohen_dz"].notna().any()
        else []
    )
    lines = [reading, *size, *(f"Scope: {scope}." for scope in scopes)]
    height = 1.35 + 0.16 * (len(lines) - 1) + (0.56 if replicated else 0.44) * max(1, len(rows))
    figure = sheet(height, "What the study concludes", "\n".join(lines))
    axes = figure.subplots()
    for low, high, colour in ((-equivalent, equivalent, EQUIVALENT), (moderate, strong, MODERATE)):
        axes.axvspan(low, high, color=colour, linewidth=0)
    axes.axvline(0, color=GREY, linewidth=0.8)
    for y, (_, row) in enumerate(rows.iterrows()):
        colour = COLOURS.get(row["verdict"], "#8a8a8a")
        decided = row["verdict"] in COLOURS
        if pd.notna(row.get("estimate")):
            axes.plot([row["low"], row["high"]], [y, y], color=colour, linewidth=2)
            axes.plot(
                row["estimate"], y, "o", color=colour, markersize=7, markerfacecolor=colour if decided else "white"
            )
        ink, weight = (colour, "bold") if decided else ("#555555", "normal")
        axes.text(
            1.02,
            y,
            _words(row),
            transform=axes.get_yaxis_transform(),
            va="center",
            fontsize=8.5,
            color=ink,
            fontweight=weight,
        )
    left, right = axes.get_xlim()
    left, right = min(left, -1.2 * strong), max(right, 1.2 * strong)
    for low, high, colour in ((strong, right, STRONG), (left, -moderate, REVERSED)):
        axes.axvspan(low, high, color=colour, linewidth=0)
    axes.set_xlim(left, right)
    axes.set_yticks(range(len(rows)), [claim(row) for _, row in rows.iterrows()])
    axes.set_ylim(max(1, len(rows)) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("difference of adjusted indices, or of logarithms of effective rank")
    shades = {
        f"reversed, to −{moderate:g}": REVERSED,
        f"equivalent, within ±{equivalent:g}": EQUIVALENT,
        f"moderate, from {moderate:g}": MODERATE,
        f"strong, from {strong:g}": STRONG,
    }
    legend(figure, [Patch(color=colour, label=label) for label, colour in shades.items()])
    return figure


def _words(row: pd.Series) -> str:
    """Return a verdict with its estimate, or why there is none."""
    if row["verdict"] not in (*COLOURS, "undecided"):
        return textwrap.fill(row["verdict"], 34, max_lines=3, placeholder=" …")
    words = f"{row['verdict']}\n{row['estimate']:+.3f} [{row['low']:+.3f}, {row['high']:+.3f}]"
    if row.get("families", 1) > 1:
        words += f"\n{row['families']:.0f} families" + (
            f", d = {row['cohen_dz']:.1f}" if pd.notna(row.get("cohen_dz")) else f", sd {row['family_sd']:.3f}"
        )
    return words.replace("-", "−")
