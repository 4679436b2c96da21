"""Two related clouds of the same prompts, and the halves of partitions of the prompts."""

import numpy as np

from stages.statistics.half_sampling import PAIRS

PROMPTS = 120
# Narrow enough for sums of moments over a quarter of the prompts, and too wide for them.
WIDTHS = (8, 70)


def related_clouds(width):
    """Return two related clouds (PROMPTS, width)."""
    generator = np.random.default_rng(width)
    x = generator.standard_normal((PROMPTS, width)) / np.arange(1, width + 1) ** 0.7
    return x, x @ generator.standard_normal((width, width)) + 0.3 + 0.5 * generator.standard_normal(x.shape)


def halves(parts):
    """Return the rows of each half of the partitions ``parts`` (R, 4, q), in the order of `PAIRS`."""
    return [np.concatenate([part[a], part[b]]) for part in parts for a, b in PAIRS]
