"""The axis of training time and the phases on it, which the figures of the trace study share."""

from __future__ import annotations

from collections.abc import Iterable

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


def time_unit(rows: pd.DataFrame) -> str:
    """Return the unit of time, a key of LABELS: tokens, or steps where tokens are not known."""
    return "step" if rows["tokens"].isna().any() else "tokens"


def axis_positions(times) -> np.ndarray:
    """Return the positions of times on a logarithmic axis: the untrained model, time 0, at half of the first later one."""
    times = np.asarray(times, float)
    later = times[times > 0]
    return np.where(times == 0, later.min() / 2 if len(later) else 1.0, times)


def step_positions(rows: pd.DataFrame) -> dict[int, float]:
    """Return the position of each step of one run on the axis of `time_unit`; ``rows`` have step and tokens."""
    steps = rows.drop_duplicates("step")
    return dict(zip(steps["step"].tolist(), axis_positions(steps[time_unit(rows)]).tolist(), strict=True))


def time_axis(axes, times, unit: str, most: int = 6) -> None:
    """Set up a logarithmic axis with ticks at powers of ten and at 0, the untrained model, if it is among ``times``."""
    times = np.asarray(times, float)
    positions = axis_positions(times)
    axes.set_xscale("log")
    axes.set_xlim(positions.min() / 1.25, positions.max() * 1.25)
    untrained = [float(positions.min())] if (times == 0).any() else []
    low = positions.min() * (2.5 if untrained else 1)
    powers = [float(10.0**k) for k in range(int(np.ceil(np.log10(low))), int(np.floor(np.log10(positions.max()))) + 1)]
    powers = powers[:: -(-len(powers) // most) or 1]
    axes.xaxis.set_major_locator(FixedLocator([*untrained, *powers]))
    axes.set_xticklabels(
        ["0"] * len(untrained) + [amount(power) if unit != "flops" else _power(power) for power in powers]
    )
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel(LABELS[unit] + (" (0: untrained)" if untrained else ""))


def amount(number: float) -> str:
    """Return a number in short form: 2.38M for 2,381,184."""
    for size, letter in UNITS:
        if number >= size:
            return f"{number / size:.3g}{letter}"
    return f"{number:.3g}"


def shade_phases(axes, phases: pd.DataFrame, positions: dict[int, float], letters: int = 0) -> None:
    """Colour the stretches of one run, with turning points between them.

    ``positions`` of the steps that are drawn; phases of several families have their mean steps, so the nearest counts.
    ``letters`` fit along the axis: the stretches that are wide enough are named above it.
    """
    width = np.log(axes.get_xlim()[1] / axes.get_xlim()[0])
    for stretch in phases.itertuples():
        low, high = (positions[_nearest(positions, step)] for step in (stretch.from_step, stretch.to_step))
        axes.axvspan(low, high, color=PHASES[stretch.label], linewidth=0, zorder=0)
        if stretch.stretch > phases["stretch"].min():
            axes.axvline(low, color="#666666", linewidth=0.9, linestyle=(0, (3, 2)), zorder=1)
        if len(stretch.label) < letters * np.log(high / low) / width:
            axes.annotate(
                stretch.label,
                (np.sqrt(low * high), 1),
                (0, 3),
                xycoords=axes.get_xaxis_transform(),
                textcoords="offset points",
                ha="center",
                va="bottom",
                fontsize=8,
                color="#333333",
                annotation_clip=False,
            )


def _nearest(steps: Iterable[int], step: int) -> int:
    return min(steps, key=lambda candidate: abs(candidate - step))


def phase_patches(phases: pd.DataFrame) -> list[Patch]:
    """Return handles of a legend for the phases that occur."""
    return [Patch(color=colour, label=label) for label, colour in PHASES.items() if label in set(phases["label"])]


def stratum_greys(strata: list[str]) -> dict[str, str]:
    """Return a grey for each stratum, black for the one with most support."""
    greys = np.linspace(0.72, 0.05, len(strata)) if len(strata) > 1 else [0.05]
    return {stratum: f"{grey:.2f}" for stratum, grey in zip(strata, greys, strict=True)}


def sorted_strata(strata) -> list[str]:
    """Return the strata of support in the order of their lower bounds."""
    return sorted(set(strata), key=lambda name: int(name.partition("-")[0].rstrip("+")))


def grouped_legend(figure, groups: dict[str, list]) -> None:
    """Draw a legend below the figure: a column for each group of handles, under its name, without the empty groups."""
    groups = {name: handles for name, handles in groups.items() if handles}
    if not groups:
        return
    rows, blank = max(map(len, groups.values())), {"linestyle": "none", "marker": ""}
    handles = []
    for name, group_handles in groups.items():
        handles += [Line2D([], [], label=name, **blank), *group_handles]
        handles += [Line2D([], [], label=" ", **blank) for _ in range(rows - len(group_handles))]
    legend = figure.legend(
        handles=handles,
        loc="outside lower center",
        ncols=len(groups),
        handlelength=2.4,
        columnspacing=1.6,
        labelspacing=0.3,
        fontsize=8,
    )
    for text in legend.get_texts():
        if text.get_text() in groups:
            text.set_fontweight("bold")


def write_note(axes, text: str) -> None:
    """Write ``text`` into the middle of an empty panel."""
    axes.text(0.5, 0.5, text, ha="center", va="center", transform=axes.transAxes, color="#555555", fontsize=8.5)


def _power(number: float) -> str:
    return f"$10^{{{round(np.log10(number))}}}$"
