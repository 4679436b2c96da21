"""The axis of training time and the phases on it: what the figures of traced training share."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, NullLocator

PHASES = {
    "warm-up collapse": "#f8dcd0",
    "entropy-seeking": "#d5e7f5",
    "compression-seeking": "#dcefd9",
    "undecided": "#ededed",
}
LABELS = {"tokens": "tokens seen", "step": "step", "flops": "training FLOPs, 6 N D"}
UNITS = ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k"))


def unit_of(rows: pd.DataFrame) -> str:
    """Tokens, or steps where tokens are not known."""
    return "step" if rows["tokens"].isna().any() else "tokens"


def places(times) -> np.ndarray:
    """Where times lie on a logarithmic axis: the untrained model, time 0, at half of the first one after it."""
    times = np.asarray(times, float)
    later = times[times > 0]
    return np.where(times == 0, later.min() / 2 if len(later) else 1.0, times)


def place_of_step(rows: pd.DataFrame) -> dict[int, float]:
    """Place of each step of one run on the axis of `unit_of`; ``rows`` have step and tokens."""
    once = rows.drop_duplicates("step")
    return dict(zip(once["step"].tolist(), places(once[unit_of(rows)]).tolist(), strict=True))


def time_axis(axes, times, unit: str, most: int = 6) -> None:
    """Logarithmic, ticks at powers of ten and at 0, the untrained model, if it is among ``times``."""
    times = np.asarray(times, float)
    at = places(times)
    axes.set_xscale("log")
    axes.set_xlim(at.min() / 1.25, at.max() * 1.25)
    untrained = [float(at.min())] if (times == 0).any() else []
    low = at.min() * (2.5 if untrained else 1)
    powers = [float(10.0**k) for k in range(int(np.ceil(np.log10(low))), int(np.floor(np.log10(at.max()))) + 1)]
    powers = powers[:: -(-len(powers) // most) or 1]
    axes.xaxis.set_major_locator(FixedLocator([*untrained, *powers]))
    axes.set_xticklabels(
        ["0"] * len(untrained) + [amount(power) if unit != "flops" else _power(power) for power in powers]
    )
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel(LABELS[unit] + (" (0: untrained)" if untrained else ""))


def amount(number: float) -> str:
    """2.38M for 2,381,184."""
    for size, letter in UNITS:
        if number >= size:
            return f"{number / size:.3g}{letter}"
    return f"{number:.3g}"


def shade(axes, phases: pd.DataFrame, at: dict[int, float], letters: int = 0) -> None:
    """Colour the stretches of one run, turning points between them.

    ``at``: the place of each step drawn; phases of several families have their mean steps, so the nearest counts.
    ``letters`` fit along the axis: the stretches that are wide enough are named above it.
    """
    width = np.log(axes.get_xlim()[1] / axes.get_xlim()[0])
    for stretch in phases.itertuples():
        low, high = (at[min(at, key=lambda known: abs(known - step))] for step in (stretch.from_step, stretch.to_step))
        axes.axvspan(low, high, color=PHASES[stretch.label], linewidth=0, zorder=0)
        if stretch.stretch > phases["stretch"].min():
            axes.axvline(low, color="#666666", linewidth=0.9, linestyle=(0, (3, 2)), zorder=1)
        if len(stretch.label) < letters * np.log(high / low) / width:
            axes.annotate(
                stretch.label, (np.sqrt(low * high), 1), (0, 3), xycoords=axes.get_xaxis_transform(), textcoords="offset points",
                ha="center", va="bottom", fontsize=8, color="#333333", annotation_clip=False,
            )  # fmt: skip


def phase_patches(phases: pd.DataFrame) -> list[Patch]:
    """For a legend: the phases that were found."""
    return [Patch(color=colour, label=label) for label, colour in PHASES.items() if label in set(phases["label"])]


def shades(strata: list[str]) -> dict[str, str]:
    """A grey for each stratum, black for the one with most support."""
    greys = np.linspace(0.72, 0.05, len(strata)) if len(strata) > 1 else [0.05]
    return {stratum: f"{grey:.2f}" for stratum, grey in zip(strata, greys, strict=True)}


def in_order(strata) -> list[str]:
    """Strata of support by their lower bound."""
    return sorted(set(strata), key=lambda name: int(name.partition("-")[0].rstrip("+")))


def grouped_legend(figure, groups: dict[str, list]) -> None:
    """Below the figure a column for each group of handles, under its name; empty groups are left out."""
    groups = {name: handles for name, handles in groups.items() if handles}
    if not groups:
        return
    rows, blank = max(map(len, groups.values())), {"linestyle": "none", "marker": ""}
    handles = []
    for name, own in groups.items():
        handles += [Line2D([], [], label=name, **blank), *own]
        handles += [Line2D([], [], label=" ", **blank) for _ in range(rows - len(own))]
    legend = figure.legend(
        handles=handles, loc="outside lower center", ncols=len(groups), handlelength=2.4, columnspacing=1.6,
        labelspacing=0.3, fontsize=8,
    )  # fmt: skip
    for text in legend.get_texts():
        if text.get_text() in groups:
            text.set_fontweight("bold")


def note(axes, text: str) -> None:
    axes.text(0.5, 0.5, text, ha="center", va="center", transform=axes.transAxes, color="#555555", fontsize=8.5)


def _power(number: float) -> str:
    return f"$10^{{{round(np.log10(number))}}}$"
