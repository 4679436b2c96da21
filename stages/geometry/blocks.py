"""Spectra from sums over blocks of rows: a half-sample is a sum of blocks, and no row is looked at twice.

`Moments` of blocks have a leading axis: gram (blocks, d, d), total (blocks, d), n (blocks,).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from stages.geometry.linear_algebra import eigh, eigvalsh
from stages.geometry.spectrum import Moments, Spectrum, SpectrumError


def total_sums(blocks: Moments) -> Moments:
    """Return the sum over all blocks: gram (d, d), total (d,), n."""
    return Moments(blocks.gram.sum(axis=0), blocks.total.sum(axis=0), int(blocks.n.sum()))


def subset_sums(blocks: Moments, members: np.ndarray) -> Moments:
    """Return sums over subsets of blocks, ``members`` (subsets, blocks) of 0 and 1: gram (subsets, d, d) and so on."""
    members = np.asarray(members, np.float64)
    flat = members @ blocks.gram.reshape(len(blocks.n), -1)  # (subsets, d * d)
    return Moments(flat.reshape(len(members), *blocks.gram.shape[1:]), members @ blocks.total, members @ blocks.n)


def complementary_members(signs: np.ndarray) -> np.ndarray:
    """Return the members (2 J, blocks) of complementary halves side by side, from ``signs`` (J, blocks) of +-1."""
    return np.stack([signs > 0, signs < 0], axis=1).reshape(-1, signs.shape[1])


def spectrum_from_sums(sums: Moments, centred: bool) -> Spectrum:
    """Return the spectrum of the rows behind ``sums``, or one for each of a stack of sums; also where d > n.

    Eigenvalues of Σ x x' - (Σ x)(Σ x)' / n in float64: a mean |μ| costs digits only beyond 1e16 λ_min / |μ|².
    A stack's rows may differ a little in number: its n is the smallest, which scales nothing but `eigenvalues`.
    Raises SpectrumError on fewer than two rows.
    """
    n, d = np.asarray(sums.n), sums.total.shape[-1]
    if n.min() < 2:
        raise SpectrumError(f"a spectrum needs at least 2 rows, found {n.min():g}")
    squares = sums.gram
    if centred:
        squares = squares - sums.total[..., :, None] * sums.total[..., None, :] / n[..., None, None]
    smallest = int(n.min())
    rank = min(smallest - 1 if centred else smallest, d)
    # clip: a zero eigenvalue of a Gram matrix comes out as a tiny negative number
    s = np.sqrt(eigvalsh(squares)[..., ::-1][..., :rank].clip(0))
    return Spectrum(s, smallest, d, centred)


class HalfSpectra(NamedTuple):
    """The spectra of all rows and of their complementary halves."""

    whole: Spectrum
    halves: Spectrum
    """(2 J, r) to first order: see `half_spectra`"""


def half_spectra(blocks: Moments, signs: np.ndarray, centred: bool) -> HalfSpectra:
    """Return the spectrum of all rows, and to first order those of complementary halves ``signs`` (J, blocks) of +-1.

    λ_i of a half is v_i' C_half v_i in the eigenvectors v_i of the whole: one eigendecomposition in place of 2 J. What
    this leaves out is even in C_half - C and so, for differences of complements, of third order: standard errors
    (`stages.statistics.deviations`) are those of the halves' own spectra at n = 500 d, .03 to .17 of them wider at
    n = 8 d, .1 to .2 at n = 2 d. The halves' values themselves are not those of their spectra.
    """
    everything = total_sums(blocks)
    squares = everything.gram
    if centred:
        squares = squares - np.outer(everything.total, everything.total) / everything.n
    values, vectors = eigh(squares)
    rank = min(everything.n - 1 if centred else everything.n, len(values))
    vectors = vectors[:, ::-1][:, :rank]  # (d, r)
    members = complementary_members(signs).astype(np.float64)  # (2 J, blocks)
    block_eigenvalues = np.einsum("bdr,dr->br", blocks.gram @ vectors, vectors)  # (blocks, r) v' S v
    half_eigenvalues = members @ block_eigenvalues  # (2 J, r)
    if centred:
        half_eigenvalues = half_eigenvalues - (members @ (blocks.total @ vectors)) ** 2 / (members @ blocks.n)[:, None]
    smallest = int((members @ blocks.n).min())
    return HalfSpectra(
        whole=Spectrum(np.sqrt(values[::-1][:rank].clip(0)), everything.n, len(values), centred),
        halves=Spectrum(np.sqrt(half_eigenvalues.clip(0)), smallest, len(values), centred),
    )


def wishart_spectrum(n: int, d: int, draws: int, seed: int) -> Spectrum:
    """Draw the spectra (draws, r) of centred isotropic Gaussian clouds of n rows in d dimensions, without structure.

    Their Gram matrix is Wishart with n - 1 degrees of freedom, drawn by its triangular factor (Bartlett 1933) at a cost
    that does not grow with n; below n = d + 1 from the rows themselves.
    """
    generator = np.random.default_rng([seed, n, d])
    if n > d:
        factor = np.tril(generator.standard_normal((draws, d, d)), -1)
        squares = generator.chisquare(n - 1 - np.arange(d), (draws, d))
        factor[:, np.arange(d), np.arange(d)] = np.sqrt(squares)
        gram = factor @ factor.swapaxes(-1, -2)  # (draws, d, d)
    else:
        rows = generator.standard_normal((draws, n, d))
        rows -= rows.mean(axis=1, keepdims=True)
        gram = rows.swapaxes(-1, -2) @ rows
    return spectrum_from_sums(Moments(gram, np.zeros((draws, d)), np.full(draws, n)), centred=True)
