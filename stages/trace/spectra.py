"""Spectral measures of one place of one checkpoint, from sums over blocks of sequences, with intervals."""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from stages.geometry.blocks import (
    HalfSpectra,
    half_spectra,
    spectrum_from_sums,
    subset_sums,
    total_sums,
    wishart_spectrum,
)
from stages.geometry.decay import legacy_ranks, median_decay
from stages.geometry.spectrum import (
    Moments,
    Spectrum,
    band_entropy,
    decay_ranks,
    participation_ratio,
    rankme,
    rankme_eigen,
    spectral_decay,
)
from stages.shared.checks import DecayRanks
from stages.statistics.deviations import hadamard_deviations, hadamard_halves, rms_standard_error
from stages.statistics.half_sampling import interval

# Number of isotropic clouds, and their seed, behind each chance level: at thousands of rows they agree to three digits.
NULL_DRAWS, NULL_SEED = 4, 0
# Number of rows per dimension from which a spectrum of n rows is close to that of many; below, rarefaction is recorded.
ENOUGH = 5
CONSTANT = "the site has no variance"
MASSIVE = "all tokens but one are massive"
NARROW = "the spectrum has too few ranks for this fit"

# Measure and variant.
Key = tuple[str, str]


class Ranges(NamedTuple):
    """The ranks that measures read: as shares of all ranks, which name the variants, and as numbers."""

    decay: DecayRanks
    bands: tuple[float, ...]
    fitted: tuple[int, int] = (0, 0)
    """First and last rank that alpha is fitted to; halves of the rows have these ranks too."""


class SpectralResult(NamedTuple):
    """All spectral measures of one place, and its eigenvalues."""

    records: list[dict]
    deviations: dict[Key, np.ndarray]
    """Half-sample deviations (blocks - 1,) of each measure with an interval."""
    rarefaction: list[dict]
    eigenvalues: np.ndarray
    """Eigenvalues (r,) of the centred covariance, descending."""
    n: int


def spectral_result(blocks: Moments, decay: DecayRanks, bands: list[float], confidence: float) -> SpectralResult:
    """Return all measures of the rows behind ``blocks``; with intervals over sequences where there are several blocks.

    The estimate is that of all rows; its error comes from complementary half-samples (`statistics.deviations`), where
    every block has rows.
    """
    several, n, d = len(blocks.n) > 1, int(blocks.n.sum()), blocks.total.shape[-1]
    if n < 2:
        records = [_row(key, np.nan, n, MASSIVE) for key in _names(Ranges(decay, tuple(bands)))]
        return SpectralResult(records, {}, [], np.zeros(0), n)
    if several and not blocks.n.all():  # massive tokens left a block without rows
        blocks, several = Moments(*(np.sum(sums, axis=0, keepdims=True) for sums in blocks)), False
    centred, raw = (_spectra(blocks, convention) for convention in (True, False))
    ranges = Ranges(decay, tuple(bands), decay_ranks(centred.whole._replace(n=n // 2), decay.first, decay.last))
    if not centred.whole.s[0] > 0:
        records = [_row(key, np.nan, n, CONSTANT) for key in _names(ranges)]
        return SpectralResult(records, {}, [], centred.whole.s, n)
    values = measures(centred.whole, raw.whole, ranges)
    chance = _chance(n, d, ranges)
    deviations = {}
    if several:
        half_values = measures(centred.halves, raw.halves, ranges)
        deviations = {key: hadamard_deviations(replicates) for key, replicates in half_values.items()}
    rarefaction = _rarefied(blocks, values, ranges) if several and n < ENOUGH * d else []
    records = []
    for key, value in values.items():
        row = _row(key, float(value), n, "" if np.isfinite(value) else NARROW) | {"null": float(chance[key])}
        if key in deviations and np.isfinite(value):
            error = float(rms_standard_error(deviations[key]))
            low, high = interval(float(value), error, confidence)
            row |= {"standard_error": error, "low": low, "high": high}
        records.append(row)
    return SpectralResult(records, deviations, rarefaction, centred.whole.eigenvalues, n)


def measures(centred: Spectrum, raw: Spectrum, ranges: Ranges) -> dict[Key, np.ndarray]:
    """Return every measure of one spectrum, or of each of a stack; NaN where the spectrum is too short for a fit.

    RankMe in both conventions: `rankme_eigen` of the centred covariance's eigenvalues (Li et al. 2025), `rankme` of the
    raw singular values (Garrido et al. 2023).
    """
    values = [
        rankme_eigen(centred),
        rankme(raw),
        participation_ratio(centred),
        *_decays(centred, ranges.fitted),
        _legacy_decay(centred),
        *(band_entropy(centred, low, high) for low, high in pairwise(ranges.bands)),
    ]
    return dict(zip(_names(ranges), values, strict=True))


def _names(ranges: Ranges) -> list[Key]:
    """Return the names of all measures, in the order of `measures`."""
    fitted = f"centred_eigen_ranks_{ranges.decay.first:g}_{ranges.decay.last:g}"
    return [
        ("rankme_eigen", "centred_eigen"),
        ("rankme", "raw_singular"),
        ("participation_ratio", "centred_eigen"),
        ("alpha", f"weighted_{fitted}"),
        ("alpha_r2", f"weighted_{fitted}"),
        ("alpha_share", f"weighted_{fitted}"),
        ("alpha", f"median_{fitted}"),
        ("alpha", "legacy_weighted_centred_eigen_ranks_12_to_100"),
        *(("band_entropy", f"centred_eigen_{low:g}_{high:g}") for low, high in pairwise(ranges.bands)),
    ]


def _decays(centred: Spectrum, ranks: tuple[int, int]) -> tuple[np.ndarray, ...]:
    """Return alpha, its R², the share of the variance that the fitted ranks hold, and the robust alpha."""
    if ranks[1] < ranks[0] + 2:
        return (_missing(centred),) * 4
    fit = spectral_decay(centred, *ranks, eigen=True, weighted=True)
    return fit.alpha, fit.r2, fit.share, median_decay(centred, *ranks)


def _legacy_decay(centred: Spectrum) -> np.ndarray:
    """Return alpha over ranks 12 to 100 or as far as they go, whatever the width: the prior study's, for comparison only."""
    if centred.s.shape[-1] < 14:
        return _missing(centred)
    return spectral_decay(centred, *legacy_ranks(centred), eigen=True, weighted=True).alpha


def _missing(centred: Spectrum) -> np.ndarray:
    return np.full(centred.s.shape[:-1], np.nan)


def _spectra(blocks: Moments, centred: bool) -> HalfSpectra:
    """Return the spectra of all rows and, where there are several blocks, of their balanced halves."""
    if len(blocks.n) > 1:
        return half_spectra(blocks, hadamard_halves(len(blocks.n)), centred)
    spectrum = spectrum_from_sums(total_sums(blocks), centred)
    return HalfSpectra(spectrum, spectrum)


def _rarefied(blocks: Moments, values: dict[Key, np.ndarray], ranges: Ranges) -> list[dict]:
    """Return the values at n / 4, n / 2 and n: means over disjoint quarters and halves, each with its own spectrum."""
    n, rows = int(blocks.n.sum()), []
    for count in (4, 2):
        sums = subset_sums(blocks, np.repeat(np.eye(count), len(blocks.n) // count, axis=1))
        part_values = measures(spectrum_from_sums(sums, centred=True), spectrum_from_sums(sums, centred=False), ranges)
        rows += [_rarefaction_row(key, n // count, value.mean()) for key, value in part_values.items()]
    return rows + [_rarefaction_row(key, n, value) for key, value in values.items()]


def _rarefaction_row(key: Key, n: int, value: float) -> dict:
    return {"measure": key[0], "variant": key[1], "n": n, "value": float(value)}


@lru_cache(maxsize=64)
def _chance(n: int, d: int, ranges: Ranges) -> dict[Key, float]:
    """Return every measure of an isotropic cloud of n rows."""
    spectra = wishart_spectrum(n, d, NULL_DRAWS, NULL_SEED)
    return {key: float(value.mean()) for key, value in measures(spectra, spectra, ranges).items()}


def _row(key: Key, value: float, n: int, missing: str) -> dict:
    return {
        "measure": key[0],
        "variant": key[1],
        "value": value,
        "n": n,
        "null": np.nan,
        "standard_error": np.nan,
        "low": np.nan,
        "high": np.nan,
        "missing": missing,
    }
