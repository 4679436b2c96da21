"""The records of the token trajectories of a model against its reference's, at one task, site and layer.

Every measure has no unit: squared lengths are over those between different prompts. Paths are projected onto the
leading directions of the reference's tokens, on the reference's scale, so that models of one reference compare.

Distances are between the mean paths of the two models, and unbiased: by chance, where both models have the same law
of paths, they are 0 on average and below it half of the time: that is their null. Mispairing the prompts is none, for
it leaves a distance of means where it is, on average. Close to 0 the interval errs on the wide side, because a
half-sample of a squared mean of about 0 scatters as 1 / n, not as 1 / √n. Shifts are between the two paths of a
prompt; mispaired prompts are at 1 on average, their null.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import numpy as np

from stages.geometry.signature import (
    SignatureContrasts,
    kernel_contrasts,
    log_signatures,
    project,
    shared_projection,
    signature_contrasts,
    signature_distance,
)
from stages.paradigms.constancy import CONSTANT
from stages.paradigms.params import PathParams
from stages.statistics.half_sampling import PAIRS, half_sample_standard_error, interval


def measure_paths(
    reference: Sequence[np.ndarray], model: Sequence[np.ndarray], params: PathParams, quarters: np.ndarray
) -> list[dict]:
    """Return the rows of ``model`` against ``reference``, paths (tokens, d) paired by prompt.

    ``quarters`` (R, 4, q) of the prompts. ``resample_baseline`` is the mean, over splits of the prompts in two, of the
    value between the halves of one model (mean of the two models); ``resample_spread`` its standard deviation.
    Where all prompts trace one path (to its ends, for degree 1) the value is NaN and ``missing`` says so.
    Raises SignatureError as `stages.geometry.signature`.
    """
    shared = shared_projection([reference], params.directions)
    x, y = project(reference, shared), project(model, shared)
    halves = np.array([np.concatenate([part[a], part[b]]) for part in quarters for a, b in PAIRS])  # (B, 2 q)
    compared = [_compare(*contrasts, halves, params.confidence) for contrasts in _all_contrasts(x, y, params)]
    return [*itertools.chain.from_iterable(compared), _signed_area(y, halves, params)]


def relative_distance(contrasts: SignatureContrasts) -> float:
    """Return |E X - E Y|² / E |X - E X|²: 0 without a difference, negative by chance; NaN without dispersion."""
    estimate = signature_distance(contrasts)
    return _ratio(estimate.squared, estimate.dispersion, contrasts)


def relative_shift(contrasts: SignatureContrasts) -> float:
    """Return the mean of |X_i - Y_i|² over that of |X_i - Y_j|², i ≠ j, over prompts: 0 to about 1; NaN where none differ."""
    estimate = signature_distance(contrasts)
    return _ratio(np.diagonal(contrasts.differences).mean(), 2 * estimate.dispersion + estimate.squared, contrasts)


def subset(contrasts: SignatureContrasts, rows: np.ndarray) -> SignatureContrasts:
    """Return the contrasts of the prompts ``rows`` alone."""
    return SignatureContrasts(*(matrix[np.ix_(rows, rows)] for matrix in contrasts))


def between_halves(contrasts: SignatureContrasts, first: np.ndarray, second: np.ndarray) -> SignatureContrasts:
    """Return the contrasts of one model's prompts ``first`` against its own ``second``, mean of the two models."""
    gram = contrasts.averages
    across = gram[np.ix_(first, second)]
    inside = gram[np.ix_(first, first)] + gram[np.ix_(second, second)]
    return SignatureContrasts(inside - across - across.T, inside / 2)


def _compare(
    name: str, variant: str, contrasts: SignatureContrasts, halves: np.ndarray, confidence: float
) -> list[dict]:
    """Return the rows of distance and shift; ``halves`` (B, m) in complementary pairs, as PAIRS are."""
    n, rows = len(contrasts.differences), []
    for quantity, function, null in (("distance", relative_distance, 0.0), ("shift", relative_shift, 1.0)):
        value = function(contrasts)
        replicates = np.array([function(subset(contrasts, half)) for half in halves])  # (B,)
        splits = zip(halves[::2], halves[1::2], strict=True)
        apart = np.array([function(between_halves(contrasts, *split)) for split in splits])  # (B / 2,)
        rows.append(
            {"measure": f"{name}_{quantity}", "variant": variant, "n": n, "value": value, "null": null}
            | {"resample_baseline": apart.mean(), "resample_spread": apart.std(ddof=1)}
            | _uncertainty(value, replicates, n, confidence)
            | {"missing": "" if np.isfinite(value) else "constant by design: the paths of all prompts are alike"}
        )
    return rows


def _all_contrasts(
    x: list[np.ndarray], y: list[np.ndarray], params: PathParams
) -> Iterator[tuple[str, str, SignatureContrasts]]:
    """Yield (measure, variant, contrasts).

    Degree 1 is the step from the first token to the last: what order adds, areas show.
    """
    k = params.directions
    for degree in (1, params.degree):
        yield "signature", f"k{k}_degree{degree}", signature_contrasts(x, y, degree)
    yield "signature_kernel", f"normalised_k{k}", kernel_contrasts(x, y, params.kernel_order, normalised=True)
    a, b = signed_areas(x), signed_areas(y)
    yield "signed_area", f"k{k}", SignatureContrasts((a - b) @ (a - b).T, (a @ a.T + b @ b.T) / 2)


def signed_areas(paths: Sequence[np.ndarray]) -> np.ndarray:
    """Return the second level of the log-signature (n, k (k - 1) / 2).

    It holds the areas between path and chord, which only the order of steps makes.
    """
    return log_signatures(paths, 2)[:, paths[0].shape[1] :]


def _signed_area(paths: list[np.ndarray], halves: np.ndarray, params: PathParams) -> dict:
    """Return the row of the mean length of a prompt's signed areas; by chance, that of its steps in random order."""
    generator = np.random.default_rng(params.seed)
    walks = [np.cumsum(generator.permutation(np.diff(p, axis=0, prepend=p[:1])), axis=0) for p in paths]
    lengths, null = (np.linalg.norm(signed_areas(p), axis=1) for p in (paths, walks))  # (n,)
    replicates = lengths[halves].mean(axis=1)  # (B,)
    value = float(lengths.mean())
    row = {"measure": "signed_area", "variant": f"k{params.directions}", "n": len(paths), "value": value}
    row |= {
        "null": float(null.mean()),
        "resample_baseline": replicates.mean(),
        "resample_spread": replicates.std(ddof=1),
    }
    return row | _uncertainty(value, replicates, len(paths), params.confidence) | {"missing": ""}


def _uncertainty(value: float, replicates: np.ndarray, n: int, confidence: float) -> dict[str, float]:
    error = half_sample_standard_error(replicates, n)
    low, high = interval(value, error, confidence)
    return {"standard_error": float(error), "low": float(low), "high": float(high)}


def _ratio(part: np.ndarray, whole: np.ndarray, contrasts: SignatureContrasts) -> float:
    return float(part / whole) if whole > CONSTANT * np.diagonal(contrasts.averages).mean() else float("nan")
