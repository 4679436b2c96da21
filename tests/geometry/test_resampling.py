"""Factorisations of subsets against those of the rows themselves."""

import numpy as np
import pytest

from stages.geometry.resampling import cka_subsets, factorise_subsets, joint_rows
from stages.geometry.similarity import debiased_cka
from stages.geometry.spectrum import factorise
from stages.geometry.subspace import preservation, preservation_sweep
from stages.statistics.half_sampling import PAIRS, quarters


@pytest.mark.parametrize("centred", [True, False])
@pytest.mark.parametrize("d", [6, 200])
def test_subsets_are_factorised_as_their_rows(d, centred):
    x = np.random.default_rng(0).standard_normal((81, d)) * np.geomspace(3, 0.1, d) + 2
    parts = quarters(81, 3, seed=0)
    found = factorise_subsets(x, parts, PAIRS, centred, k=3, every_pair=True)
    assert (
        found.quarters.s.shape[:2] == (3, 4)
        and found.halves.s.shape[:2] == (3, 2)
        and found.pairs.s.shape[:2] == (3, 6)
    )
    for r, pair in ((0, 0), (2, 1), (2, 5)):
        rows = x[parts[r][list(PAIRS[pair])].ravel()]
        y = rows if not centred else rows - x.mean(axis=0)
        plain = factorise(y, centred, 3)
        np.testing.assert_allclose(found.pairs.s[r, pair], plain.s, rtol=1e-7)
        if pair < 2:
            assert preservation(found.halves.basis[r, pair], plain.basis) == pytest.approx(1)
    quarter = factorise(x[parts[1][2]], centred, 3)
    np.testing.assert_allclose(found.quarters.s[1, 2], quarter.s, rtol=1e-7)
    few = factorise_subsets(x, parts, PAIRS, centred, k=3, every_pair=False)
    assert few.pairs is None and few.halves.basis.tobytes() == found.halves.basis.tobytes()


@pytest.mark.parametrize("centred", [True, False])
@pytest.mark.parametrize("d", [30, 60, 400])
def test_scores_across_subsets_of_wide_clouds_are_those_of_their_rows(d, centred):
    """A quarter has 20 rows and a half 40: d lies between, above, and far above; the mean is large."""
    generator = np.random.default_rng(0)
    x = generator.standard_normal((81, d)) * np.arange(1, d + 1) ** -0.5 + 5
    y = x + 0.2 * generator.standard_normal((81, d))
    parts, ks = quarters(81, 2, seed=0), (2, 5)
    found = [factorise_subsets(z, parts, PAIRS, centred, 5, every_pair=True) for z in (x, y)]
    for r in range(2):
        quarter = [[factorise(z[rows], centred, 5) for rows in parts[r]] for z in (x, y)]
        for a, b in PAIRS:
            np.testing.assert_allclose(
                preservation_sweep(found[0].quarters.basis[r, a], found[1].quarters.basis[r, b], ks),
                preservation_sweep(quarter[0][a].basis, quarter[1][b].basis, ks),
                rtol=1e-9,
            )
        for pair, (a, b) in enumerate(PAIRS):
            half = factorise(y[np.concatenate([parts[r, a], parts[r, b]])], centred)
            np.testing.assert_allclose(found[1].pairs.s[r, pair], half.s, rtol=1e-9)


def test_cka_of_halves_is_that_of_their_rows():
    generator = np.random.default_rng(0)
    x = generator.standard_normal((40, 5)) + 1
    y = x @ generator.standard_normal((5, 5)) + generator.standard_normal((40, 5))
    parts = quarters(40, 2, seed=1)
    rows = parts[1][list(PAIRS[3])].ravel()
    assert cka_subsets(x, y, parts, PAIRS)[1, 3] == pytest.approx(debiased_cka(x[rows], y[rows]))


def test_joint_rows_lose_nothing():
    """With fewer prompts than dimensions: same spectra, same angles, far fewer columns."""
    x, y = np.random.default_rng(0).standard_normal((2, 20, 300)) * np.geomspace(2, 0.2, 300)
    a, b = joint_rows(x, y)
    assert a.shape == b.shape == (20, 40)
    np.testing.assert_allclose(a @ b.T, x @ y.T, atol=1e-10)
    direct = [np.linalg.svd(z - z.mean(axis=0))[2][:4].T for z in (x, y)]
    assert preservation(*(factorise(z, True, 4).basis for z in (a, b))) == pytest.approx(preservation(*direct))


def test_joint_rows_leave_tall_data_alone():
    x, y = np.random.default_rng(0).standard_normal((2, 20, 8))
    assert joint_rows(x, y)[0] is x
