"""Token trajectories as paths, compared between two models by their signatures.

A prompt's tokens trace a path through the residual stream. Its signature is the list of iterated integrals of
the path; the expected signature determines the law of the paths, as moments do that of vectors. All of it is
computed after one projection shared by both models (`shared_projection`), and by pysiglib, of which this is the
only adapter. A signature is unchanged by translation and by reparametrisation: a repeated token adds nothing,
which is also how paths of unequal length are padded. Distances are unchanged by a common rotation of both
models (projection fitted anew), and by a common scale of both, since the projection takes it out.

Both models run on the same prompts, so their paths come in pairs. The usual unbiased estimate of a squared
mean discrepancy (pysiglib's `sig_mmd` among others) keeps the products of a prompt's path with its own
partner, as if the two samples were independent: for paired paths it is biased down, below zero for two equal
models. Here those products are left out (`SignatureContrasts`), and two equal models are at exactly zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from stages.geometry.spectrum import factorise, factorise_moments, moments

# Most numbers of one truncated signature: beyond it lower the degree or the directions.
LONGEST = 100_000
# The square of this many pairs of paths are solved at a time: 50 MB for paths of 80 tokens.
BATCH = 32


class SignatureError(ValueError):
    """Paths or their projection cannot be read; the message names what was found, expected and the fix."""


class Projection(NamedTuple):
    """A linear map shared by all models of a comparison: path -> path @ basis / scale."""

    basis: np.ndarray
    """(d, k) orthonormal columns"""
    scale: float
    """root mean square, over paths, of their quadratic variation √(sum of |step|²), in units of the activations"""


class SignatureContrasts(NamedTuple):
    """The inner products between prompts; rows and columns of a subset of prompts are those of the subset."""

    differences: np.ndarray
    """(..., n, n) products of the differences of the two models' signatures: ⟨X_i - Y_i, X_j - Y_j⟩"""
    averages: np.ndarray
    """(..., n, n) products inside a model, mean of the two: (⟨X_i, X_j⟩ + ⟨Y_i, Y_j⟩) / 2"""


class SignatureDistance(NamedTuple):
    """An unbiased squared distance between two models' mean signatures, and the scale to read it on."""

    squared: np.ndarray
    """|E X - E Y|², unbiased: about 0, and half of the time below it, for two models with the same law of paths"""
    dispersion: np.ndarray
    """E |X - E X|², mean of the two models, unbiased: squared / dispersion is free of the overall scale"""


def split_paths(values: np.ndarray, offsets: np.ndarray) -> list[np.ndarray]:
    """Return the paths (tokens, d) of a ragged store ``values`` (total_tokens, d): path i is offsets[i]:offsets[i + 1].

    Raises SignatureError on offsets that do not cover the rows in order, on empty paths and non-finite values.
    """
    values, offsets = np.asarray(values), np.asarray(offsets)
    if values.ndim != 2 or offsets.ndim != 1 or len(offsets) < 2:
        raise SignatureError(
            f"values of shape {values.shape} with offsets of shape {offsets.shape}: expected (total_tokens, d) and (n_prompts + 1,)"
        )
    if offsets[0] != 0 or offsets[-1] != len(values) or (np.diff(offsets) < 1).any():
        raise SignatureError(
            f"offsets from {offsets[0]} to {offsets[-1]}, smallest step {np.diff(offsets).min()}: expected 0 to {len(values)} with a token or more in every prompt; drop prompts without tokens"
        )
    return [np.asarray(path) for path in np.split(values, offsets[1:-1])]


def shared_projection(models: Sequence[Sequence[np.ndarray]], k: int) -> Projection:
    """Return the ``k`` leading directions of the tokens of ``models``, each centred on its mean, and their scale.

    ``models``: the paths (tokens, d) of one reference, or of all models compared. Each model is centred by
    itself because a shift between models is nothing that a signature sees. The scale makes the mean
    quadratic variation after projection 1, which keeps the levels of the signature comparable however many
    tokens a prompt has (scaled to unit length instead, rough paths would leave only the first). Raises
    SignatureError on unlike widths, non-finite values, ``k`` beyond the tokens, or paths that do not move.
    """
    models = [_checked(paths, f"model {i}") for i, paths in enumerate(models)]
    if len(widths := sorted({paths[0].shape[1] for paths in models})) != 1:
        raise SignatureError(f"models of widths {widths}: expected one; paths of unlike widths share no projection")
    clouds = [np.concatenate(paths) for paths in models]
    clouds = [cloud - cloud.mean(axis=0) for cloud in clouds]  # (total_tokens, d) each
    total, d = sum(map(len, clouds)), widths[0]
    if not 1 <= k <= min(total - 1, d):
        raise SignatureError(
            f"k = {k} directions of {total} tokens in {d} dimensions: expected 1 to {min(total - 1, d)}"
        )
    if d <= total:
        sums = moments(clouds[0])
        for cloud in clouds[1:]:
            sums += moments(cloud)
        basis = factorise_moments(sums, centred=True, k=k).basis
    else:
        basis = factorise(np.concatenate(clouds), centred=True, k=k).basis
    steps = [np.diff(path @ basis, axis=0) for paths in models for path in paths]
    scale = float(np.sqrt(np.mean([(step**2).sum() for step in steps])))
    if not scale > 0:
        raise SignatureError("no path moves in the projection: expected two or more unlike tokens in some prompt")
    return Projection(basis, scale)


def project(paths: Sequence[np.ndarray], projection: Projection) -> list[np.ndarray]:
    """Return ``paths`` (tokens, d) projected to (tokens, k), float64.

    Raises SignatureError on another width or non-finite values.
    """
    paths = _checked(paths, "the model")
    if paths[0].shape[1] != (d := len(projection.basis)):
        raise SignatureError(
            f"paths of width {paths[0].shape[1]} and a projection of width {d}: fit it on these models"
        )
    return [path @ projection.basis / projection.scale for path in paths]


def log_signatures(paths: Sequence[np.ndarray], degree: int) -> np.ndarray:
    """Return log-signatures (n, L) of ``paths`` (tokens, k) up to ``degree``: coefficients of ln S(x) at Lyndon words.

    Level 1 is the displacement (k numbers), level 2 the signed areas ½∫(x_i dx_j - x_j dx_i), i < j (k(k-1)/2);
    L = Σ_m (1/m) Σ_{c|m} μ(m/c) k^c, without the redundancy of the signature. For features; distances use the
    signature, whose inner product does not depend on the basis. Invariant to translation and
    reparametrisation. Raises SignatureError on impossible paths or degree. Source: Lyons 1998; Reizenstein &
    Graham 2020.
    """
    import pysiglib

    padded = _padded(_checked(paths, "the model"), degree)
    pysiglib.prepare_log_sig(padded.shape[2], degree, method=1, device="cpu")
    return _finite(pysiglib.log_sig(padded, degree, method=1))


def signatures(paths: Sequence[np.ndarray], degree: int) -> np.ndarray:
    """Return signatures (n, k + k² + … + k^degree) of ``paths`` (tokens, k), without the leading 1.

    Entry (i_1 … i_m) is ∫ dx_{i_1} … dx_{i_m} over ordered times, of the piecewise linear path. Invariant to
    translation and reparametrisation. Raises SignatureError on impossible paths or degree. Source: Chen 1954.
    """
    import pysiglib

    return _finite(pysiglib.sig(_padded(_checked(paths, "the model"), degree), degree))


def signature_contrasts(x: Sequence[np.ndarray], y: Sequence[np.ndarray], degree: int) -> SignatureContrasts:
    """Return `SignatureContrasts` of signatures up to ``degree`` of ``x`` and ``y``, projected paths paired by prompt.

    `signature_distance` of them is that between expected signatures. Invariances as in the module. Raises
    SignatureError on unlike numbers of prompts or widths. Source: Chevyrev & Lyons 2016.
    """
    a, b = (signatures(paths, degree) for paths in _paired(x, y))
    return SignatureContrasts((a - b) @ (a - b).T, (a @ a.T + b @ b.T) / 2)


def kernel_contrasts(
    x: Sequence[np.ndarray], y: Sequence[np.ndarray], order: int = 4, normalised: bool = False
) -> SignatureContrasts:
    """Return `SignatureContrasts` of whole signatures: k = ⟨S(x), S(y)⟩ solves ∂²k/∂s∂t = ⟨dx_s, dy_t⟩ k, 1 at starts.

    `signature_distance` of them is the signature kernel's squared maximum mean discrepancy. ``x``, ``y``: projected
    paths (tokens, k) paired by prompt. ``order`` of the solver's polynomials: at 4 the relative error is 3e-7 for
    Brownian paths of 40 tokens on the scale of `shared_projection`, 8e-6 for 5 tokens, and a pair of paths of
    80 tokens in 8 dimensions takes .14 ms (there are 2n² pairs, each as long as the longest path); at 8 it is
    1e-12, in .4 ms. ``normalised`` divides by √(k(x, x) k(y, y)), which bounds what one long path can do: the
    kernel grows exponentially with the quadratic variation. Invariances as in the module. Raises SignatureError on
    unlike numbers of prompts or widths and on overflow. Source: Salvi et al. 2021; Király & Oberhauser 2019.
    """
    import pysiglib

    x, y = _paired(x, y)
    paths = _padded([*x, *y], 1)  # (2n, tokens, k): one solve, in which every pair of prompts shares its padding
    gram = _finite(pysiglib.sig_kernel_gram(paths, paths, method="polynomial", order=order, max_batch=BATCH))
    if normalised:
        norms = np.sqrt(np.diagonal(gram))
        gram = gram / (norms[:, None] * norms[None, :])
    n = len(x)
    xx, yy, xy = gram[:n, :n], gram[n:, n:], gram[:n, n:]
    return SignatureContrasts(xx + yy - xy - xy.T, (xx + yy) / 2)


def signature_distance(contrasts: SignatureContrasts) -> SignatureDistance:
    """Return the unbiased squared distance between the two models' means, and the dispersion of a model about its own.

    squared = mean over i ≠ j of differences_ij; dispersion = mean of averages_ii - mean over i ≠ j of averages_ij.
    Both are U-statistics in prompts: for an interval pass the rows and columns of half-samples, drawn without
    replacement. Between models of one law ``squared`` degenerates and that interval is too wide (squared / error
    has a standard deviation of .52 over 300 draws of 60 prompts, and never passed 1.96): a verdict by it is
    conservative. The root of ``squared`` is what a distance is, but has no unbiased estimate. Raises
    SignatureError below 2 prompts. Source: Gretton et al. 2012 (the form for paired samples).
    """
    differences, averages = contrasts
    if (n := differences.shape[-1]) < 2:
        raise SignatureError(f"a distance between sets of paths needs at least 2 prompts, found {n}")
    dispersion = np.einsum("...ii->...", averages) / n - _off_diagonal(averages)
    return SignatureDistance(_off_diagonal(differences), dispersion)


def _off_diagonal(matrix: np.ndarray) -> np.ndarray:
    """Return the mean over the elements off the diagonal of (..., n, n)."""
    n = matrix.shape[-1]
    return (matrix.sum(axis=(-1, -2)) - np.einsum("...ii->...", matrix)) / (n * (n - 1))


def _paired(x: Sequence[np.ndarray], y: Sequence[np.ndarray]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    x, y = _checked(x, "the first model"), _checked(y, "the second model")
    if len(x) != len(y) or x[0].shape[1] != y[0].shape[1]:
        raise SignatureError(
            f"{len(x)} paths of width {x[0].shape[1]} against {len(y)} of width {y[0].shape[1]}: expected the same prompts in the same projection"
        )
    return x, y


def _checked(paths: Sequence[np.ndarray], name: str) -> list[np.ndarray]:
    paths = [np.asarray(path, np.float64) for path in paths]
    if not paths or any(path.ndim != 2 or not len(path) for path in paths):
        raise SignatureError(
            f"{name} has paths of shapes {sorted({path.shape for path in paths})[:4]}: expected one or more, (tokens, d) each, with a token or more"
        )
    if len(widths := sorted({path.shape[1] for path in paths})) != 1:
        raise SignatureError(f"{name} has paths of widths {widths}: expected one width")
    if bad := [i for i, path in enumerate(paths) if not np.isfinite(path).all()]:
        raise SignatureError(
            f"{name}: {len(bad)} of {len(paths)} paths hold NaN or infinity, the first is path {bad[0]}: drop these prompts"
        )
    return paths


def _padded(paths: list[np.ndarray], degree: int) -> np.ndarray:
    """Return paths (n, longest, k) that start at 0 and stay at their last point, neither of which a signature sees."""
    k = paths[0].shape[1]
    if degree < 1 or (size := sum(k**m for m in range(1, degree + 1))) > LONGEST:
        raise SignatureError(
            f"degree = {degree} of paths in {k} dimensions"
            + (
                f" is {size} numbers a path: at most {LONGEST}; lower one of the two"
                if degree >= 1
                else ": expected 1 or more"
            )
        )
    longest = max(2, *map(len, paths)) if len(paths) > 1 else max(2, len(paths[0]))
    rows = np.minimum(np.arange(longest), np.array([len(path) - 1 for path in paths])[:, None])  # (n, longest)
    return np.stack([(path - path[0])[row] for path, row in zip(paths, rows, strict=True)])


def _finite(values: np.ndarray) -> np.ndarray:
    values = np.asarray(values)
    if not np.isfinite(values).all():
        raise SignatureError(
            "the signature overflows: expected paths on the scale of shared_projection; divide them by a larger scale, or mask the tokens of massive norm"
        )
    return values
