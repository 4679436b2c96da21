import numpy as np
import pytest

from stages.statistics.ceiling import adjusted_index, noise_ceiling


def test_ceiling_is_the_geometric_mean():
    assert noise_ceiling(0.9, 0.4) == pytest.approx(0.6)


def test_index_is_one_at_the_ceiling_and_zero_at_chance():
    np.testing.assert_allclose(adjusted_index(np.array([0.9, 0.3, 0.6]), np.array([0.9, 0.9, 0.9]), 0.3), [1, 0, 0.5])


def test_no_index_where_the_ceiling_is_at_chance():
    assert np.isnan(adjusted_index(np.array(0.31), np.array(0.32), 0.3))
