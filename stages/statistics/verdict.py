"""Verdicts in words from an estimate's interval, its p and declared margins."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from statsmodels.stats.multitest import multipletests

STRONG, MODERATE, EQUIVALENT, REVERSED, UNDECIDED = "strong", "moderate", "equivalent", "reversed", "undecided"


def holm(p: Sequence[float]) -> np.ndarray:
    """Return Holm-corrected p (tests,) of a family of tests. Source: Holm 1979."""
    return multipletests(p, method="holm")[1] if len(p) else np.array([])


def verdict(low: float, high: float, p: float, margins: tuple[float, float, float], alpha: float) -> str:
    """Return the verdict of the interval ``low``..``high`` of a difference (more - less) against ``margins``.

    ``margins`` = (strong, moderate, equivalent). *strong*, *moderate*: the whole interval lies at or above
    that margin and the corrected ``p`` of no difference is at most ``alpha``; *reversed*: the whole interval
    lies at or below minus the moderate margin, p likewise; *equivalent*: the whole interval lies within plus
    or minus the equivalence margin; else *undecided*. A difference that excludes zero but not the margins
    is undecided: between two fixed models there is always some difference.
    """
    strong, moderate, equivalent = margins
    if -equivalent <= low and high <= equivalent:
        return EQUIVALENT
    if p <= alpha and low >= moderate:
        return STRONG if low >= strong else MODERATE
    if p <= alpha and high <= -moderate:
        return REVERSED
    return UNDECIDED


def scope(families: int, families_for_paradigms: int) -> str:
    """Say in words which models and prompts a verdict over so many families speaks of."""
    if families >= families_for_paradigms:
        return f"of the paradigms: a paired t-interval over {families} families"
    models = "two models" if families == 1 else f"{2 * families} models"
    return f"of these {models} on prompts like these, not of their paradigms ({families} of at least {families_for_paradigms} families)"
