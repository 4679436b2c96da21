"""The prior study's tests and decision, with layers as if they were samples: for comparison only.

Pseudo-replicated: neighbouring layers are all but the same number, so that under no effect (AR(1), .95, 32 layers)
Welch's test rejects about 77 % of the time at .05, and d grows as layers agree, not as the difference does.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

# (p below, d above) of the prior study's two decisions.
STRONG, MODERATE = (0.01, 0.5), (0.05, 0.3)


class OverLayers(NamedTuple):
    """The tests of ``more`` > ``less`` and the decision from them; NaN where layers do not vary."""

    welch_t: float
    welch_p: float
    mann_whitney_u: float
    mann_whitney_p: float
    cohen_d: float
    decision: str


def over_layers(more: np.ndarray, less: np.ndarray) -> OverLayers:
    """Test ``more`` > ``less`` (layers,) by Welch's t and Mann-Whitney's U, one-sided, with Cohen's d.

    d = difference / √((v1 + v2) / 2). U counts the pairs of layers in which ``more`` is higher, a tie as half; exact p
    below 9 layers without ties, else normal. Raises ValueError below 2 layers.
    """
    from scipy.stats import mannwhitneyu, ttest_ind

    if min(len(more), len(less)) < 2:
        raise ValueError(f"tests over layers need at least 2 layers on each side, found {len(more)} and {len(less)}")
    spread = np.sqrt((more.var(ddof=1) + less.var(ddof=1)) / 2)
    if spread == 0:
        nan = float("nan")
        return OverLayers(nan, nan, nan, nan, nan, decision(nan, nan))
    welch = ttest_ind(more, less, equal_var=False, alternative="greater")
    ranks = mannwhitneyu(more, less, alternative="greater")
    p, d = float(welch.pvalue), float((more.mean() - less.mean()) / spread)
    return OverLayers(float(welch.statistic), p, float(ranks.statistic), float(ranks.pvalue), d, decision(p, d))


def decision(p: float, d: float) -> str:
    """Return the prior study's decision of its sixth week, from the one-sided ``p`` of Welch's test and Cohen's ``d``.

    p < .01 and d > .5: strong; p < .05 and d > .3: moderate; the moderate sizes with the opposite sign: reversed ->
    investigate; else: none -> pivot. It has no row for a difference that is surely small, and none for one that is not
    known.
    """
    for word, (level, size) in (("strong", STRONG), ("moderate", MODERATE)):
        if p < level and d > size:
            return word
    if 1 - p < MODERATE[0] and d < -MODERATE[1]:
        return "reversed -> investigate"
    return "none -> pivot"
