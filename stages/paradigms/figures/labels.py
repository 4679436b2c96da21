"""Labels of points, placed so that they cover neither each other nor a point."""

from __future__ import annotations

import numpy as np

# Candidate positions, in points from the mark, the nearest first.
OFFSETS = [
    (x, y)
    for radius in (8, 15, 24, 34)
    for x, y in ((radius, 0), (-radius, 0), (6, radius), (6, -radius), (-6, radius), (-6, -radius))
]


def label_points(axes, points: list[tuple[float, float, str, str]]) -> None:
    """Write the text of each (x, y, text, colour) at the first free position around it, once limits and layout are final."""
    figure = axes.figure
    renderer, scale = figure.canvas.get_renderer(), figure.dpi / 72
    marks = axes.transData.transform([(x, y) for x, y, *_ in points])  # (points, 2) pixels
    frame = axes.get_window_extent(renderer)
    taken = [_box(mark, 6 * scale, 6 * scale) for mark in marks]
    for i in np.argsort(-marks[:, 1], kind="stable"):
        x, y, text, colour = points[i]
        note = axes.annotate(
            text,
            (x, y),
            (0, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
            color=colour,
            annotation_clip=False,
        )
        best = None
        for dx, dy in OFFSETS:
            note.set(position=(dx, dy), ha="left" if dx > 0 else "right")
            extent = note.get_window_extent(renderer)
            box = (extent.x0, extent.y0, extent.x1, extent.y1)
            outside = extent.x0 < frame.x0 or extent.x1 > frame.x1 or extent.y0 < frame.y0 or extent.y1 > frame.y1
            cost = sum(_overlap(box, obstacle) for j, obstacle in enumerate(taken) if j != i) + (1e6 if outside else 0)
            if best is None or cost < best[0]:
                best = (cost, dx, dy, box)
            if cost == 0:
                break
        note.set(position=best[1:3], ha="left" if best[1] > 0 else "right")
        if np.hypot(*best[1:3]) > 12:  # far from its mark: tie it
            axes.annotate(
                "",
                (x, y),
                best[1:3],
                textcoords="offset points",
                arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 0.6},
            )
        taken.append(best[3])


def _box(centre: np.ndarray, width: float, height: float) -> tuple[float, float, float, float]:
    x, y = centre
    return x - width, y - height, x + width, y + height


def _overlap(a: tuple, b: tuple) -> float:
    """Return the common area of two boxes (x0, y0, x1, y1)."""
    return max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
