import numpy as np
import pytest

from stages.geometry.chance import isotropic_spectrum, noise_eigenvalues
from stages.geometry.spectrum import effective_rank


def test_noise_eigenvalues_fill_the_marchenko_pastur_band():
    n, d = 2000, 200
    null = isotropic_spectrum(n, d, True, 4, seed=0)
    top, bottom = (1 + np.sqrt(d / n)) ** 2, (1 - np.sqrt(d / n)) ** 2
    mean = null.eigenvalues.mean(axis=0)
    assert mean[0] == pytest.approx(top, rel=0.05) and mean[-1] == pytest.approx(bottom, rel=0.05)
    assert noise_eigenvalues(null, 7.0).sum() == pytest.approx(7)


def test_isotropic_data_has_nearly_full_rank_and_is_seeded():
    null = isotropic_spectrum(1000, 32, True, 3, seed=5)
    assert (effective_rank(null) > 31).all()
    assert null.s.tobytes() == isotropic_spectrum.__wrapped__(1000, 32, True, 3, 5).s.tobytes()
