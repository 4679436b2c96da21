"""The profile of one cloud of activations: lengths, how many directions it fills, how few coordinates carry a row.

A cloud is a matrix X (n, d), a row per token; `profile` takes stacks (..., n, d), such as all layers at once. Compare
clouds of equal n only: the two spectral numbers are bounded by it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from stages.geometry.norms import NormError, norm_statistics
from stages.geometry.spectrum import Spectrum, effective_rank, factorise

# A value is near zero when its magnitude is below this many times its row's root mean square.
NEAR_ZERO = 0.1
# The prior study's guard against the logarithm of zero.
LEGACY_FLOOR = 1e-8


class Profile(NamedTuple):
    """The profile of one cloud; (...) each for a stack of clouds."""

    norm_mean: np.ndarray
    """mean length of a row, in the units of the activations"""
    norm_sd: np.ndarray
    """standard deviation of the lengths, in the same units"""
    norm_maximum_to_median: np.ndarray
    """largest length over the median one"""
    norm_entropy: np.ndarray
    """`norm_entropy`: 1/n to 1"""
    legacy_norm_entropy: np.ndarray
    """`legacy_norm_entropy`: nats"""
    von_neumann_entropy: np.ndarray
    """`von_neumann_entropy` of the centred cloud: nats"""
    effective_rank: np.ndarray
    """`effective_rank` of the centred cloud, by its singular values: 1 to min(n - 1, d)"""
    hoyer: np.ndarray
    """mean of `hoyer` over rows: 0 to 1"""
    near_zero: np.ndarray
    """mean of `near_zero_share` over rows: 0 to 1"""


def profile(x: np.ndarray) -> Profile:
    """Return the profile of the cloud ``x`` (..., n, d), in float64.

    Everything is invariant to the order of rows, and all but norm_mean and norm_sd to a factor; numbers from norms and
    spectrum to rotation, those from the spectrum to translation, hoyer and near_zero to the order and signs of
    dimensions. NaN where a number is undefined: spectra of a cloud without extent, hoyer and near_zero with a row of
    zeros. Raises NormError on fewer than two rows or dimensions and on values that are not finite.
    """
    x = np.asarray(x, np.float64)
    statistics, spectrum = norm_statistics(x), factorise(x, centred=True)
    norms = np.linalg.norm(x, axis=-1)  # (..., n)
    return Profile(
        statistics.mean,
        statistics.sd,
        statistics.maximum_to_median,
        norm_entropy(norms),
        legacy_norm_entropy(norms),
        von_neumann_entropy(spectrum),
        effective_rank(spectrum),
        hoyer(x).mean(axis=-1),
        near_zero_share(x).mean(axis=-1),
    )


def norm_entropy(norms: np.ndarray) -> np.ndarray:
    """Return exp(H) / n of ``norms`` (..., n), H = -sum p ln p, p = norms / sum: the share of rows with the length.

    1 for equal norms, k / n where k equal rows are all there is; for independent norms it converges with n to
    exp(-E[r ln r]), r = norm / E norm, where H itself grows like ln n. Invariant to a factor. NaN where all are zero.
    """
    n = norms.shape[-1]
    # It is the same perplexity, with lengths in place of singular values.
    return effective_rank(Spectrum(norms, n, n, centred=False)) / n


def legacy_norm_entropy(norms: np.ndarray) -> np.ndarray:
    """Return -sum p ln(p + 1e-8), p = norms / sum, of ``norms`` (..., n): the prior study's, for comparison only.

    Nearly ln n whatever the activations hold: compare `norm_entropy`. NaN where all are zero.
    """
    with np.errstate(invalid="ignore"):
        p = norms / norms.sum(axis=-1, keepdims=True)
    return -(p * np.log(p + LEGACY_FLOOR)).sum(axis=-1)


def von_neumann_entropy(spectrum: Spectrum) -> np.ndarray:
    """Return -sum p ln p in nats, p = λ / sum λ: the covariance, scaled to trace 1, as a density matrix; 0 to ln r.

    The logarithm of the eigen effective rank. Invariances as `effective_rank`. NaN for a cloud without extent.
    Source: von Neumann 1927.
    """
    return np.log(effective_rank(spectrum, eigen=True))


def hoyer(x: np.ndarray) -> np.ndarray:
    """Return (sqrt d - |x|_1 / |x|_2) / (sqrt d - 1) (...) of rows of ``x`` (..., d); 0 to 1.

    0 for equal magnitudes, 1 for one value. A row of independent normal values has about (1 - sqrt(2 / π)) sqrt d /
    (sqrt d - 1). Invariant to a factor for each row, and to the order and signs of dimensions, not to rotation: it
    belongs to the basis. NaN for a row of zeros. Raises NormError on fewer than 2 dimensions. Source: Hoyer 2004.
    """
    if (d := x.shape[-1]) < 2:
        raise NormError(f"sparsity needs at least 2 dimensions, found {d}")
    with np.errstate(invalid="ignore"):
        ratio = np.abs(x).sum(axis=-1) / np.linalg.norm(x, axis=-1)
    return (np.sqrt(d) - ratio) / (np.sqrt(d) - 1)


def near_zero_share(x: np.ndarray, threshold: float = NEAR_ZERO) -> np.ndarray:
    """Return the share of the values of each row of ``x`` (..., d) with |x_j| < ``threshold`` x the row's rms.

    Relative to the row, as residual streams have no exact zeros and grow with depth. A row of independent normal
    values has about erf(threshold / sqrt 2), .080 at the default. Invariances as `hoyer`. NaN for a row of zeros.
    """
    rms = np.sqrt(np.square(x).mean(axis=-1, keepdims=True))  # (..., 1)
    share = (np.abs(x) < threshold * rms).mean(axis=-1)
    return np.where(rms[..., 0] == 0, np.nan, share)
