"""Spectral measures of one cloud of activations: every one reads the same factorisation.

A matrix X (n, d), a row per prompt, is factorised once (`factorise`) into a `Spectrum`; the measures
are functions of it. All of them work on stacks: a `Spectrum` of shape (..., r) gives (...) numbers.

Two conventions name every number. *Centred* subtracts the column means first (the headline: a mean
direction shared by all prompts otherwise dominates), *raw* does not. *Singular* weighs directions by
the singular values s of X, *eigen* by s², the eigenvalues of its covariance; they differ widely.
All measures are bounded by n as well as by d: compare them at equal n only.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from stages.geometry.linear_algebra import eigh, eigvalsh, gram

# Relative rounding error of float64.
ROUNDING = np.finfo(np.float64).eps


class SpectrumError(ValueError):
    """A matrix cannot be factorised, or a measure cannot read it; the message names what was expected."""


class Spectrum(NamedTuple):
    """The singular values of X (n, d) in float64, and on request the leading right singular vectors."""

    s: np.ndarray
    """(..., r) descending, r = min(n, d), or min(n - 1, d) when centred"""
    n: int
    d: int
    centred: bool
    basis: np.ndarray | None = None
    """(..., d, k) orthonormal columns: the k leading right singular vectors"""

    @property
    def eigenvalues(self) -> np.ndarray:
        """Return the (..., r) eigenvalues of X'X / (n - 1) when centred, of X'X / n when raw."""
        return self.s**2 / (self.n - 1 if self.centred else self.n)


class Moments(NamedTuple):
    """The sums over rows that determine the spectrum when d is small; those of disjoint sets of rows add up."""

    gram: np.ndarray
    """(..., d, d) sum of x x'"""
    total: np.ndarray
    """(..., d) sum of x"""
    n: int

    def __add__(self, addend: Moments) -> Moments:  # type: ignore[override]
        return Moments(self.gram + addend.gram, self.total + addend.total, self.n + addend.n)


def factorise(x: np.ndarray, centred: bool, k: int = 0) -> Spectrum:
    """Return the singular values of ``x`` (..., n, d) and, if ``k`` > 0, its ``k`` leading right singular vectors.

    Through the eigenvalues of the smaller Gram matrix, in float64, where that is as good as a singular
    value decomposition down to s_r / s_1 of 1e-7 and several times faster; float32 would not be.
    Raises SpectrumError on fewer than two rows or k > r.
    """
    x = np.asarray(x, np.float64)  # (..., n, d)
    n, d = x.shape[-2:]
    _require(n, d, centred, k)
    if centred:
        x = x - x.mean(axis=-2, keepdims=True)
    if d <= n:
        return _from_gram(gram(x), n, d, centred, k)
    dual = _from_gram(gram(np.swapaxes(x, -1, -2)), n, d, centred, k)
    return with_right_vectors(dual, x) if k else dual


def factorise_squares(squares: np.ndarray, d: int, centred: bool, k: int = 0) -> Spectrum:
    """Factorise rows (..., n, d), d >= n, given by their inner products ``squares`` (..., n, n), cut out of more rows.

    The basis holds the *left* singular vectors (..., n, k): see `with_right_vectors`. When ``centred``, pass the
    products of rows from which some common mean was already taken, for the digits' sake. Raises SpectrumError as
    `factorise`, and where d < n.
    """
    n = squares.shape[-1]
    _require(n, d, centred, k)
    if d < n:
        raise SpectrumError(f"inner products need d >= n, found d = {d}, n = {n}: use factorise on the rows")
    if centred:
        means = squares.mean(axis=-1, keepdims=True)  # (..., n, 1)
        squares = squares - means - np.swapaxes(means, -1, -2) + means.mean(axis=-2, keepdims=True)
    return _from_gram(squares, n, d, centred, k)


def with_right_vectors(dual: Spectrum, x: np.ndarray) -> Spectrum:
    """Return ``dual`` with the right singular vectors of ``x`` (..., n, d) in place of the left ones."""
    right = np.swapaxes(x, -1, -2) @ dual.basis  # (..., d, k), columns of length s
    k, smallest = right.shape[-1], ROUNDING * np.maximum(dual.s[..., None, :1], np.finfo(float).tiny)
    return dual._replace(basis=right / np.maximum(dual.s[..., None, :k], smallest))


def moments(x: np.ndarray) -> Moments:
    """Return additive sums of ``x`` (..., n, d), in float64."""
    x = np.asarray(x, np.float64)
    return Moments(gram(x), x.sum(axis=-2), x.shape[-2])


def factorise_moments(sums: Moments, centred: bool, k: int = 0) -> Spectrum:
    """Factorise the rows behind ``sums``; needs d <= n.

    When ``centred``, pass sums of rows from which some common mean was already taken: the rank-one correction cancels
    the rest without loss of digits. Raises SpectrumError as `factorise`, and where d > n.
    """
    n, d = sums.n, sums.total.shape[-1]
    _require(n, d, centred, k)
    if d > n:
        raise SpectrumError(f"moments need d <= n, found d = {d}, n = {n}: use factorise on the rows")
    squares = sums.gram
    if centred:
        squares = squares - sums.total[..., :, None] * sums.total[..., None, :] / n
    return _from_gram(squares, n, d, centred, k)


def _require(n: int, d: int, centred: bool, k: int) -> None:
    if n < 2:
        raise SpectrumError(f"a spectrum needs at least 2 rows, found {n}")
    if k > (rank := _rank(n, d, centred)):
        raise SpectrumError(f"k = {k} directions of {n} rows in {d} dimensions: at most {rank}")


def _rank(n: int, d: int, centred: bool) -> int:
    return min(n - 1 if centred else n, d)


def _from_gram(squares: np.ndarray, n: int, d: int, centred: bool, k: int) -> Spectrum:
    """Return the spectrum from the smaller Gram matrix ``squares``; its basis holds the eigenvectors of that matrix."""
    rank = _rank(n, d, centred)
    if k:
        values, vectors = eigh(squares)  # ascending
        basis = vectors[..., ::-1][..., :k]
    else:
        values, basis = eigvalsh(squares), None
    # clip: a zero eigenvalue of a Gram matrix comes out as a tiny negative number
    s = np.sqrt(values[..., ::-1][..., :rank].clip(0))
    return Spectrum(s, n, d, centred, basis)


def _shares(spectrum: Spectrum, eigen: bool) -> np.ndarray:
    """Return the weights (..., r) of the directions, summing to 1; NaN for a cloud without extent."""
    weights = spectrum.s**2 if eigen else spectrum.s
    with np.errstate(invalid="ignore"):
        return weights / weights.sum(axis=-1, keepdims=True)


def _perplexity(p: np.ndarray) -> np.ndarray:
    """Return exp(-sum p ln p) over the last axis, with 0 ln 0 = 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(p == 0, 0.0, p * np.log(p))
    return np.exp(-terms.sum(axis=-1))


def effective_rank(spectrum: Spectrum, eigen: bool = False) -> np.ndarray:
    """Return exp(-sum p ln p), (...), p = s / sum s, or p = s² / sum s² when ``eigen``; 1 to r, in directions.

    Invariant to rotation and isotropic scale, and to translation when centred. The prior study's number is the raw
    singular one. NaN for a cloud without extent. Source: Roy & Vetterli 2007 (singular).
    """
    return _perplexity(_shares(spectrum, eigen))


def rankme(spectrum: Spectrum) -> np.ndarray:
    """Return exp(-sum q ln q), (...), q = s / sum s + 1e-7, of the raw embeddings.

    Invariances as `effective_rank`. Source: Garrido et al. 2023. Up to the 1e-7, which only keeps the logarithm
    finite, this is the raw singular effective rank: two names, one number.
    """
    q = _shares(spectrum, eigen=False) + 1e-7
    return np.exp(-(q * np.log(q)).sum(axis=-1))


def rankme_eigen(spectrum: Spectrum) -> np.ndarray:
    """Return exp(-sum q ln q), (...), q = λ / sum λ + 1e-7, λ the covariance eigenvalues of centred features.

    Invariances as `effective_rank`. Source: Li et al. 2025, who call it RankMe along training: not Garrido's (at
    λ ~ 1/i, d = 4096: 431 against 3148). Up to the 1e-7 it is the centred eigen effective rank.
    """
    q = _shares(spectrum, eigen=True) + 1e-7
    return np.exp(-(q * np.log(q)).sum(axis=-1))


class Decay(NamedTuple):
    """A power law s_i ~ i^-alpha fitted over the ranks first..last; (...) each."""

    alpha: np.ndarray
    """exponent, above 0 for a spectrum that falls"""
    r2: np.ndarray
    """share of the variance of ln s that the line explains"""
    share: np.ndarray
    """share of sum s² that the fitted ranks carry: a good fit of 2 % of the variance says little"""
    first: int
    last: int


def decay_ranks(spectrum: Spectrum, low: float, high: float) -> tuple[int, int]:
    """Return the ranks (1-based, inclusive) from ``low`` to ``high`` times min(n, d), at most n / 3.

    Relative, so that models of different width fit the same part of the spectrum; beyond n / 3 the
    sample eigenvalues fall faster than the true ones.
    """
    r = min(spectrum.n, spectrum.d)
    return max(1, round(low * r)), min(round(high * r), spectrum.n // 3, spectrum.s.shape[-1])


def spectral_decay(
    spectrum: Spectrum, first: int, last: int, floor: float = 0.0, eigen: bool = False, weighted: bool = False
) -> Decay:
    """Fit ln(s_i + floor) on ln i by least squares over the 1-based ranks ``first``..``last``; alpha = -slope.

    On singular values, or on s² when ``eigen``, whose exponent is twice as large. ``weighted`` gives rank i the
    weight 1 / i, so that each octave of ranks counts alike instead of the tail most. NaN where a fitted value is
    zero (and floor is). Invariant to rotation and isotropic scale, and to translation when centred.
    Raises SpectrumError on fewer than 3 ranks. Source: prior study (plain, singular); Stringer et al. 2019, and
    α-ReQ, Agrawal et al. 2022 (weighted, eigen).
    """
    if not 1 <= first <= last - 2 or last > spectrum.s.shape[-1]:
        raise SpectrumError(f"decay needs at least 3 ranks inside 1..{spectrum.s.shape[-1]}, asked for {first}..{last}")
    fitted = spectrum.s[..., first - 1 : last] + floor  # (..., m)
    noise = ROUNDING * max(spectrum.n, spectrum.d)  # of eigenvalues, relative to the largest
    zero = fitted**2 <= noise * spectrum.s[..., :1] ** 2
    y = (2 if eigen else 1) * np.log(np.where(zero & (floor == 0), np.nan, fitted))
    ranks = np.arange(first, last + 1)
    weights = 1 / ranks if weighted else np.ones(len(ranks))  # (m,)
    weights, x = weights / weights.sum(), np.log(ranks)
    x, y = x - x @ weights, y - (y @ weights)[..., None]
    slope = (y @ (weights * x)) / (x**2 @ weights)
    with np.errstate(invalid="ignore"):
        r2 = slope**2 * (x**2 @ weights) / (y**2 @ weights)
        share = (spectrum.s[..., first - 1 : last] ** 2).sum(axis=-1) / (spectrum.s**2).sum(axis=-1)
    return Decay(-slope, r2, share, first, last)


def legacy_decay(spectrum: Spectrum) -> np.ndarray:
    """Return alpha of ln(s_i + 1e-10) on ln i over all ranks of the raw matrix: the prior study's, for comparison only.

    It covers other ranks whenever n or d differ, and the tail of noise weighs most.
    """
    return spectral_decay(spectrum, 1, spectrum.s.shape[-1], floor=1e-10).alpha


def participation_ratio(spectrum: Spectrum, eigen: bool = True) -> np.ndarray:
    """Return (sum λ)² / sum λ², λ = s² (the usual one), or on s when not ``eigen`` (the prior study's); 1 to r.

    Least biased of the rank measures at small n. Invariant to rotation and isotropic scale, and to
    translation when centred. Source: Gao et al. 2017.
    """
    return 1 / (_shares(spectrum, eigen) ** 2).sum(axis=-1)


def stable_rank(spectrum: Spectrum) -> np.ndarray:
    """Return sum s² / s_1²; 1 to r. Invariances as `participation_ratio`. Source: Rudelson & Vershynin 2007."""
    return 1 / _shares(spectrum, eigen=True)[..., 0]


def condition_number(spectrum: Spectrum) -> np.ndarray:
    """Return s_1 / s_r; NaN when s_r² is below rounding, for then the matrix is rank-deficient and the ratio is noise.

    Invariances as `participation_ratio`.
    """
    first, last = spectrum.s[..., 0], spectrum.s[..., -1]
    sound = last**2 > ROUNDING * max(spectrum.n, spectrum.d) * first**2
    return np.where(sound, first / np.where(sound, last, 1.0), np.nan)


def numerical_rank(spectrum: Spectrum) -> np.ndarray:
    """Return the number of s_i above min(n, d) ε s_1, ε of float32, the precision of the activations; 0 to r.

    Invariances as `participation_ratio`, and to rescaling of dimensions short of rounding. Source: Golub & Van Loan;
    numpy's matrix_rank has the larger of n and d, which depends on the coordinates of a cloud with d > n.
    """
    floor = min(spectrum.n, spectrum.d) * np.finfo(np.float32).eps * spectrum.s[..., :1]
    return (spectrum.s > floor).sum(axis=-1).astype(float)


def band_ranks(spectrum: Spectrum, low: float, high: float) -> tuple[int, int]:
    """Return ranks (1-based, inclusive) of the band from ``low`` to ``high`` times r: neighbouring bands share none."""
    r = spectrum.s.shape[-1]
    return round(low * r) + 1, round(high * r)


def band_entropy(spectrum: Spectrum, low: float, high: float) -> np.ndarray:
    """Return how evenly variance is spread inside a band of ranks: H(p) / ln m, p_i = s_i² / sum over the m ranks.

    0 (one direction) to 1 (all alike). Compression of the leading directions and flattening of the tail, which
    one number for the whole spectrum mixes, show apart. NaN for a band of fewer than 2 ranks or without variance.
    Invariances as `participation_ratio`. Source: after replications of Li et al. 2025.
    """
    first, last = band_ranks(spectrum, low, high)
    if last < first + 1:
        return np.full(spectrum.s.shape[:-1], np.nan)
    band = Spectrum(spectrum.s[..., first - 1 : last], spectrum.n, spectrum.d, spectrum.centred)
    return np.log(_perplexity(_shares(band, eigen=True))) / np.log(last - first + 1)


def components_for(spectrum: Spectrum, share: float = 0.9) -> np.ndarray:
    """Return the least number of leading directions with ``share`` of sum s²; invariances as `participation_ratio`."""
    cumulative = np.cumsum(_shares(spectrum, eigen=True), axis=-1)
    count = 1.0 + (cumulative < share - 1e-12).sum(axis=-1)  # 1e-12: a share reached exactly counts as reached
    return np.where(np.isnan(cumulative[..., -1]), np.nan, count)
