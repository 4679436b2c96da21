"""The prior study's formulas as it computed them, bugs included, so that its published numbers can be compared.

They serve nothing else: each names its flaw and what to use instead. All of them read raw, uncentred activations (n,
d), so that the direction of the mean, which prompts of one template share, leads every spectrum and subspace; they
depend on n, which differed between its tasks; and none has a null, a ceiling or an interval. Here they are float64,
where the prior study read float16, in which residuals above 65,504 are infinite. Its Cohen's d and Welch test took
layers for samples: see `stages.statistics`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from stages.geometry.spectrum import (
    Spectrum,
    components_for,
    effective_rank,
    legacy_decay,
    participation_ratio,
    spectral_decay,
    stable_rank,
)
from stages.geometry.subspace import preservation, projection_overlap

# Directions that subspaces are cut at.
MOST_DIRECTIONS = 100
# The prior study's guard against division by zero.
SMALLEST = 1e-10


class LegacyError(ValueError):
    """Two matrices cannot be compared; the message names what was expected."""


def legacy_spectrum(x: np.ndarray) -> tuple[Spectrum, np.ndarray]:
    """Return the singular values of raw ``x`` (n, d) and its right singular vectors (d, min(n, d)).

    By a singular value decomposition: next to a large mean `factorise` would lose the digits of the smallest singular
    values, which the condition number and the fit over all ranks read.
    """
    x = np.asarray(x, np.float64)
    _, s, right = np.linalg.svd(x, full_matrices=False)
    return Spectrum(s, *x.shape, centred=False), right.T


def legacy_condition_number(spectrum: Spectrum) -> float:
    """Return s_1 / s_r, or infinity where s_r <= 1e-10.

    Flaw, absolute threshold: 1e-10 is far below the rounding of activations, so that a rank-deficient matrix gets a
    large finite number, which is noise. Instead: `spectrum.condition_number`, centred, missing where deficient.
    """
    first, last = spectrum.s[0], spectrum.s[-1]
    return float(first / last) if last > SMALLEST else float("inf")


# What was computed from the singular values alone.
SPECTRAL: dict[str, Callable[[Spectrum], np.ndarray | float]] = {
    # exp(-sum p ln p), p = s / (sum s + 1e-10) above 1e-10. Flaw, uncentred: a mean offset moved it from 328 to 209.
    # Instead: effective_rank, centred.
    "legacy_effective_rank": effective_rank,
    # -slope of ln(s_i + 1e-10) on ln i. Flaw, all ranks: they change whenever n or d do, and the tail of noise weighs
    # most. Instead: spectral_decay over declared ranks, with its share of the variance.
    "legacy_decay": legacy_decay,
    # Share of variance that this line explains: high for any smooth curve. Instead: the exponent over several ranges.
    "legacy_decay_r2": lambda spectrum: spectral_decay(spectrum, 1, spectrum.s.shape[-1], floor=SMALLEST).r2,
    # (sum s)² / sum s². Flaw, on s in place of the eigenvalues, s². Instead: participation_ratio, centred.
    "legacy_participation_ratio": lambda spectrum: participation_ratio(spectrum, eigen=False),
    # sum s² / s_1². Flaw, uncentred: s_1 is the mean, and the rank about 1. Instead: stable_rank, centred.
    "legacy_stable_rank": stable_rank,
    # First i with s_1² + … + s_i² >= .9 sum s². Flaw, uncentred: often 1, the mean. Instead: components_for, centred.
    "legacy_components_90": lambda spectrum: components_for(spectrum, 0.9),
    "legacy_condition_number": legacy_condition_number,
}


def legacy_cka(reference: np.ndarray, model: np.ndarray) -> float:
    """Return sum K L / √(sum K² sum L²), K = HXX'H and L = HYY'H the doubly centred Gram matrices; 0 without variance.

    Flaw, biased: unrelated noise scores .96 at n = 164, d = 4096. Instead: `similarity.debiased_cka`.
    Raises LegacyError on unlike shapes.
    """
    reference, model = _paired(reference, model)
    a, b = (x @ x.T for x in (z - z.mean(axis=0) for z in (reference, model)))  # (n, n)
    scale = np.sqrt((a**2).sum() * (b**2).sum())
    return float((a * b).sum() / scale) if scale > 0 else 0.0


def legacy_correlation_alignment(reference: np.ndarray, model: np.ndarray) -> float:
    """Return |Pearson's r| of the two arrays (n, d), flattened.

    Flaw, coordinates: it needs neuron i to mean the same in both models, a mean shared by all prompts alone brings it
    near 1, and the sign is lost. Instead: `similarity.debiased_cka`. Raises LegacyError on unlike shapes.
    """
    reference, model = _paired(reference, model)
    return float(abs(np.corrcoef(reference.ravel(), model.ravel())[0, 1]))


def legacy_records(reference: np.ndarray, model: np.ndarray) -> dict[str, float]:
    """Return every measure of raw ``model`` (n, d), and of it against ``reference`` (n, d), by name.

    Left out are two that activations alone do not determine. The Menger curvature of paths through the layers is
    `curvature.path_curvature` (the same formula). The "curvature" mean ‖act(x + noise) - act(x)‖² / ε², noise of
    deviation ε ‖E‖ / √numel, is a sensitivity by another name: the squared response to noise, in which nothing bends,
    by finite differences, which rounding ruins in half precision; instead see
    `stages.paradigms.sensitivity.noise_response`, its limit for ε -> 0. Raises LegacyError on unlike shapes.
    """
    (_, first), (spectrum, second) = (legacy_spectrum(x) for x in _paired(reference, model))
    first, second = first[:, :MOST_DIRECTIONS], second[:, :MOST_DIRECTIONS]  # (d, k), k = min(100, n, d)
    return {
        **{name: float(function(spectrum)) for name, function in SPECTRAL.items()},
        # Mean cosine of the principal angles between the k leading right singular vectors. Flaw, k unbounded by the
        # sample: at k = d it can only be 1, at k near n it compares noise; and chance rises with k / d (.13 at 4096,
        # .31 at 768). Uncentred, with neither chance nor ceiling. Instead: subspace.preservation at a declared k,
        # centred, as an adjusted index.
        "legacy_preservation": float(preservation(first, second)),
        # ‖V1'V2‖² / k / k of the same bases. Flaw, divided by k twice: equal subspaces score 1 / k, not 1. Instead:
        # subspace.projection_overlap.
        "legacy_projection": float(projection_overlap(first, second) / first.shape[1]),
        "legacy_cka": legacy_cka(reference, model),
        "legacy_correlation_alignment": legacy_correlation_alignment(reference, model),
    }


def _paired(reference: np.ndarray, model: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    reference, model = np.asarray(reference, np.float64), np.asarray(model, np.float64)
    if reference.shape != model.shape or model.ndim != 2:
        raise LegacyError(f"matrices of shape {reference.shape} and {model.shape}: expected (n, d), the same for both")
    return reference, model
