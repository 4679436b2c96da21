"""Colours, labels and saving: what all figures share.

Every figure is 9 inches wide, for a page of about 900 pixels. Colours are those of Okabe & Ito, safe for
colour-blind readers: supervised models are orange to red, models of reinforcement learning blue, both green.
Paradigms are drawn in full colour, controls paler and dashed.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator
from PIL import Image

from stages.shared.files import SIGNIFICANT_DIGITS, atomic

WIDTH = 9.0
# Characters of a caption that fit the width.
CAPTION_LINE = 145
DPI = 130
GREY = "#6b6b6b"
PALE = "#e6e6e6"


class Look(NamedTuple):
    """How one recipe or model is drawn everywhere."""

    label: str
    colour: str
    dash: str | tuple = "-"
    marker: str = "o"
    control: bool = False

    @property
    def ink(self) -> str:
        """Colour of text: the pale ones are for marks only."""
        return "#555555" if self.control else self.colour


LOOKS = {
    "base": Look("Base", "#222222"),
    "sft": Look("SFT", "#D55E00"),
    "rl_zero": Look("RL-Zero", "#0072B2"),
    "think": Look("Think", "#009E73"),
    "sft_matched": Look("SFT, matched displacement", "#E8A33D", (0, (5, 2)), "s", True),
    "sft_kl": Look("SFT, matched KL", "#D98A8A", (0, (3, 1.5)), "^", True),
    "sft_onpolicy": Look("SFT, on-policy", "#B58B6A", (0, (1.2, 1.2)), "D", True),
    "sft_continued": Look("SFT, continued", "#C9A0DC", (0, (6, 1.5)), "P", True),
    "rl_shuffled": Look("RL, shuffled reward", "#7FB8DE", (0, (4, 1.5, 1, 1.5)), "v", True),
}
# Colours of hub and local models, in the order of the study.
MODEL_COLOURS = ("#CC79A7", "#8C6BB1", "#56B4E9", "#A6A600", "#8B4513", "#2F4F4F")

# Whatever matplotlibrc the reader has: the defaults of the pinned version, and these.
RULES = {key: value for key, value in matplotlib.rcParamsDefault.items() if key != "backend"} | {
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.labelsize": 9,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8.5,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#999999",
    "xtick.color": "#444444",
    "ytick.color": "#444444",
    "axes.grid": False,
}
# Decorates every function that draws.
styled = matplotlib.rc_context(RULES)


def looks(recipes: Iterable[str]) -> dict[str, Look]:
    """Return the look of each recipe, paradigms first; hub and local models take their name and the next free colour."""
    names = list(dict.fromkeys(recipes))
    organisms = {name: look for name, look in LOOKS.items() if name in names}
    models = [name for name in names if name not in LOOKS]
    return organisms | {
        name: Look(name, MODEL_COLOURS[i % len(MODEL_COLOURS)], "-", "oPXd*h"[i // len(MODEL_COLOURS) % 6])
        for i, name in enumerate(models)
    }


def sheet(height: float, title: str, caption: str) -> Figure:
    """Return a figure of ``height`` inches under a title of one line and a caption of any length."""
    caption = "\n".join(textwrap.fill(line, CAPTION_LINE) for line in caption.splitlines())
    figure = Figure(figsize=(WIDTH, height), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)  # figures know it as their canvas: no pyplot, no display
    header = 0.36 + 0.165 * (1 + caption.count("\n"))  # inches
    figure.get_layout_engine().set(rect=(0, 0, 1, 1 - header / height), w_pad=0.06, h_pad=0.05)
    figure.text(0.008, 1 - 0.07 / height, title, ha="left", va="top", fontsize=12, fontweight="bold")
    figure.text(0.008, 1 - 0.32 / height, caption, ha="left", va="top", fontsize=8.5, color="#444444", linespacing=1.3)
    return figure


def nothing(title: str, reason: str) -> Figure:
    """Return a figure that says why it is empty."""
    return sheet(1.0, title, reason)


def legend(figure: Figure, handles: list, columns: int = 4) -> None:
    """Put one legend below all axes."""
    figure.legend(
        handles=handles,
        loc="outside lower center",
        ncols=min(columns, len(handles)),
        handlelength=2.6,
        columnspacing=1.6,
    )


def log_ticks(axis) -> None:
    """Set ticks at 1, 2 and 5 times the powers of ten within two decades, else at the powers; written out."""
    low, high = axis.get_view_interval()
    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 200 * low else (1,)))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_locator(NullLocator())


def whole_ticks(axes, layers: Iterable[int]) -> None:
    """Set ticks on layers that exist, at most about ten."""
    layers = sorted(set(layers))
    axes.set_xticks(layers[:: -(-len(layers) // 10)])


@styled
def save(figure: Figure, path: Path) -> None:
    """Write a PNG whose bytes depend on the figure only; a palette of 256 colours makes it a third of the size."""
    figure.canvas.draw()
    pixels = Image.fromarray(np.asarray(figure.canvas.buffer_rgba())).convert("RGB")
    with atomic(path) as temporary:
        pixels.quantize(256, dither=Image.Dither.NONE).save(temporary, format="PNG", optimize=True)


def save_all(tables: Mapping[str, pd.DataFrame], figures: Mapping[str, Figure], folder: Path) -> None:
    """Write every table as ``{name}.csv`` and every figure as ``{name}.png`` into ``folder``."""
    for name, table in tables.items():
        save_table(table, folder / f"{name}.csv")
    for name, figure in figures.items():
        save(figure, folder / f"{name}.png")


def save_table(table: pd.DataFrame, path: Path) -> None:
    """Write a CSV with six significant digits."""
    with atomic(path) as temporary:
        table.to_csv(temporary, index=False, float_format=f"%.{SIGNIFICANT_DIGITS}g", lineterminator="\n")


WIDEST, NARROWEST, CONTROL = 3.6, 1.6, 1.2


def widths(styles: Mapping[str, Look]) -> dict[str, float]:
    """Return the width of each recipe's line: narrower than those drawn before it, controls thin on top."""
    paradigms = [recipe for recipe, look in styles.items() if not look.control]
    wide = dict(zip(paradigms, np.linspace(WIDEST, NARROWEST, len(paradigms)).tolist(), strict=True))
    return {recipe: wide.get(recipe, CONTROL) for recipe in styles}
