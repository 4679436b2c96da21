"""Fast replicates on halves of paired rows against the plain measure of the half's rows."""

import numpy as np
import pytest

from stages.geometry.paired import alignment_subsets, predictivity_subsets, svcca_subsets
from stages.geometry.similarity import linear_predictivity, nuclear_alignment, svcca
from stages.statistics.half_sampling import PAIRS, quarters
from tests.support.halved_clouds import PROMPTS as N
from tests.support.halved_clouds import WIDTHS, halves, related_clouds


@pytest.fixture(scope="module", params=WIDTHS)
def clouds(request):
    return related_clouds(request.param)


@pytest.fixture(scope="module")
def parts():
    return quarters(N, 3, 0)


@pytest.mark.parametrize(
    ("fast", "plain"),
    [(alignment_subsets, nuclear_alignment), (svcca_subsets, svcca)],
    ids=["alignment", "svcca"],
)
def test_moments_give_the_value_of_the_rows(clouds, parts, fast, plain):
    found = fast(*clouds, parts, PAIRS)
    assert found.shape == (3, 6)
    np.testing.assert_allclose(found.ravel(), [plain(*(z[half] for z in clouds)) for half in halves(parts)], rtol=1e-9)


def test_predictivity_with_the_quarters_as_folds(clouds, parts):
    found = predictivity_subsets(*clouds, parts, PAIRS)
    interleaved = [np.stack([part[a], part[b]], axis=1).ravel() for part in parts for a, b in PAIRS]  # rows alternate
    plain = [linear_predictivity(*(z[rows] for z in clouds), folds=2) for rows in interleaved]
    if clouds[0].shape[1] <= parts.shape[2]:
        np.testing.assert_allclose(found.ravel(), plain, rtol=1e-9)
    else:
        np.testing.assert_allclose(found.mean(), np.mean(plain), atol=0.05)
