"""The prior study's tests over layers, and each row of its decision table."""

import numpy as np
import pytest

from stages.statistics.legacy import decision, over_layers


def test_welch_agrees_with_the_reported_relation_of_t_and_d():
    """With 32 layers a side t = d √16, which is how the prior study's t came to 20.74 at d = 5.19."""
    generator = np.random.default_rng(0)
    found = over_layers(generator.normal(1, 0.1, 32), generator.normal(0.5, 0.1, 32))
    assert found.welch_t == pytest.approx(found.cohen_d * 4, rel=1e-6)


def test_mann_whitney_counts_pairs_of_layers():
    more, less = np.array([1.0, 3.0, 5.0]), np.array([0.0, 2.0, 4.0])
    found = over_layers(more, less)
    assert found.mann_whitney_u == (more[:, None] > less).sum() == 6
    assert found.mann_whitney_p == pytest.approx(7 / 20)  # of the 20 orders of 3 and 3, seven have U >= 6


def test_tests_over_layers_need_layers():
    with pytest.raises(ValueError, match="at least 2 layers on each side, found 1 and 1"):
        over_layers(np.ones(1), np.ones(1))
    found = over_layers(np.ones(3), np.ones(3))
    assert np.isnan(found.welch_t) and found.decision == "none -> pivot"


@pytest.mark.parametrize(
    ("p", "d", "word"),
    [
        (0.009, 0.51, "strong"),
        (0.009, 0.49, "moderate"),
        (0.011, 0.9, "moderate"),
        (0.049, 0.31, "moderate"),
        (0.049, 0.29, "none -> pivot"),
        (0.051, 0.9, "none -> pivot"),
        (0.97, -0.31, "reversed -> investigate"),
        (0.97, -0.29, "none -> pivot"),
        (0.94, -0.9, "none -> pivot"),
    ],
)
def test_decisions(p, d, word):
    assert decision(p, d) == word
