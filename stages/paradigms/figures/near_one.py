"""An axis for indices that crowd below 1: even steps of the distance to 1, as 0.9, 0.99, 0.999."""

from __future__ import annotations

import numpy as np
from matplotlib.ticker import FixedLocator, NullLocator

# 1 itself lies where 1 - ROOM would on a logarithmic scale of 1 - index: nearer is no nearer for the eye.
ROOM = 1e-3
SLOPE = 1 / (ROOM * np.log(10))
TICKS = (0, 0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 1)


def spread_y(axes) -> None:
    """Scale the y-axis by -log(1 + ROOM - index)."""
    axes.set_yscale("function", functions=(_forward, _backward))
    axis = axes.yaxis
    axis.set_major_locator(FixedLocator(TICKS))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_locator(NullLocator())


def _forward(index: np.ndarray) -> np.ndarray:
    # Beyond 1 a straight line goes on with the slope there: nothing is cut off, and the scale can be inverted.
    index = np.asarray(index, float)
    scaled = -np.log10(1 + ROOM - np.minimum(index, 1))
    return scaled + np.maximum(index - 1, 0) * SLOPE


def _backward(scaled: np.ndarray) -> np.ndarray:
    scaled = np.asarray(scaled, float)
    top = -np.log10(ROOM)
    index = 1 + ROOM - 10.0 ** -np.minimum(scaled, top)
    return index + np.maximum(scaled - top, 0) / SLOPE
