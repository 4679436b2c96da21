"""When activations count as constant: their variance is no more than what rounding leaves."""

from __future__ import annotations

import numpy as np

# Variance over mean square, at and below which it is rounding: that of float32 leaves 1e-14.
CONSTANT = 1e-10


def is_constant(x: np.ndarray) -> bool:
    """Return whether ``x`` (n, d) has no variance over prompts, as where every prompt ends in the same token."""
    return bool(x.var(axis=0).sum() <= CONSTANT * np.square(x).sum(axis=1).mean())
