"""Line widths by which models that coincide stay visible."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from stages.figures.style import Look

WIDEST, NARROWEST, CONTROL = 3.6, 1.6, 1.2


def widths(styles: Mapping[str, Look]) -> dict[str, float]:
    """Width of each recipe's line: every paradigm is narrower than those drawn before it, controls lie thin on top."""
    paradigms = [recipe for recipe, look in styles.items() if not look.control]
    wide = dict(zip(paradigms, np.linspace(WIDEST, NARROWEST, len(paradigms)).tolist(), strict=True))
    return {recipe: wide.get(recipe, CONTROL) for recipe in styles}
