"""Constancy: the rounding of float32 is none of the variance."""

import numpy as np

from stages.paradigms.constancy import is_constant


def test_constancy_sees_past_float32_rounding_but_not_past_a_weak_signal():
    base = np.random.default_rng(0).standard_normal(16).astype(np.float32) * 10
    jitter = np.random.default_rng(1).standard_normal((50, 16))
    assert is_constant(base * (1 + 1e-7 * jitter))
    assert not is_constant(base * (1 + 1e-3 * jitter))
