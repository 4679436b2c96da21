"""Isotropic clouds: what measures of one cloud give where there is no structure."""

from __future__ import annotations

from functools import cache

import numpy as np

from stages.geometry.dimension import Neighbours, neighbours
from stages.geometry.spectrum import Spectrum, factorise


@cache
def isotropic_spectrum(n: int, d: int, centred: bool, draws: int, seed: int) -> Spectrum:
    """Draw spectra (draws, r) of isotropic Gaussian data (n, d): unequal singular values are sampling noise only."""
    generator = np.random.default_rng([seed, n, d])
    singular = [factorise(generator.standard_normal((n, d)), centred).s for _ in range(draws)]
    return Spectrum(np.stack(singular), n, d, centred)


@cache
def isotropic_neighbours(n: int, d: int, k: int, seed: int) -> Neighbours:
    """Return `neighbours` of isotropic Gaussian data (n, d), of true dimension d: how far n points fall short of it."""
    return neighbours(np.random.default_rng([seed, n, d, k]).standard_normal((n, d)), k)


def noise_eigenvalues(null: Spectrum, total: float) -> np.ndarray:
    """Return the mean eigenvalues (r,) of the draws of ``null``, scaled to the sum ``total``."""
    mean = null.eigenvalues.mean(axis=0)
    return mean * (total / mean.sum())
