"""The power law of a spectrum by a fit that few odd eigenvalues do not move, and the ranks of the prior study's fit."""

from __future__ import annotations

import numpy as np

from stages.geometry.spectrum import ROUNDING, Spectrum, SpectrumError

# Ranks of the prior study's fit, counted from 1.
LEGACY_FIRST, LEGACY_LAST = 12, 100


def median_decay(spectrum: Spectrum, first: int, last: int) -> np.ndarray:
    """Return α of λ_i ~ i^-α over the 1-based ranks ``first``..``last``: (...).

    Minus the median, over sliding windows of a tenth of the fitted ranks (3 at least), of the least-squares slopes of
    ln λ on ln i, λ the eigenvalues of the covariance. Windows of equal length in rank: late ranks, where ln i hardly
    varies, have most of them, as in the prior study. NaN where a fitted eigenvalue is zero. Invariant to rotation and
    isotropic scale, and to translation when centred.
    Raises SpectrumError on fewer than 3 ranks. Source: robust fit of the prior study (Li et al. 2025).
    """
    if not 1 <= first <= last - 2 or last > spectrum.s.shape[-1]:
        raise SpectrumError(f"decay needs at least 3 ranks inside 1..{spectrum.s.shape[-1]}, asked for {first}..{last}")
    values = spectrum.s[..., first - 1 : last] ** 2  # (..., m)
    noise = ROUNDING * max(spectrum.n, spectrum.d) * spectrum.s[..., :1] ** 2
    y = np.log(np.where(values > noise, values, np.nan))
    x = np.log(np.arange(first, last + 1))
    window = max(3, len(x) // 10)
    x, y = (np.lib.stride_tricks.sliding_window_view(z, window, axis=-1) for z in (x, y))  # (..., windows, window)
    x = x - x.mean(axis=-1, keepdims=True)
    return -np.median((x * y).sum(axis=-1) / (x**2).sum(axis=-1), axis=-1)


def legacy_ranks(spectrum: Spectrum) -> tuple[int, int]:
    """Return the ranks (12, min(100, r)) that the prior study fits: it asks for 11..99, from 0, and shifts once more.

    Absolute ranks: models of different width fit different parts of their spectrum, see `spectrum.decay_ranks`.
    Raises SpectrumError when r < 14, which leaves fewer than 3 ranks.
    """
    r = spectrum.s.shape[-1]
    if r < LEGACY_FIRST + 2:
        raise SpectrumError(
            f"the prior study's ranks start at {LEGACY_FIRST} and need {LEGACY_FIRST + 2} eigenvalues, found {r}: "
            "use decay_ranks"
        )
    return LEGACY_FIRST, min(LEGACY_LAST, r)
