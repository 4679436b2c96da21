"""How often the project's tests reject when nothing is there, find what is, and cover what is known.

Usage: python -m tests.speed.calibration        (writes metrics/calibration.json; JOBS workers, one by default)

A *family* is a base, a small random residual network on prompts with a decaying spectrum, and two updated models. Every
run draws its own base, updates and prompts. The statistics are those of the stages `measure` and `test`; a test of this
file holds them against `stages.paradigms.site_records.measure_site`.

The null is exact. The base and the prompts are symmetric under the reflection of blocks of coordinates, S, and the
second update is the first one reflected, S Δ S: another update of the same size, whose population value of every
measure is the same, because that model is the first one seen in a mirror. Two *independent* updates of equal size do
not have equal values; with prompts as the sampled unit "no difference" is then false, and the rate at which it is
rejected stands beside, as `unequal_updates`. With families as the sampled unit it is true again.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from joblib import Parallel, delayed

from stages.geometry.resampling import SubsetSpectra, cka_subsets, factorise_subsets
from stages.geometry.similarity import debiased_cka
from stages.geometry.spectrum import Spectrum, effective_rank, factorise
from stages.geometry.subspace import preservation, preservation_chance
from stages.shared.files import write_json
from stages.statistics.ceiling import adjusted_index, noise_ceiling
from stages.statistics.contrast import LayerValues, contrast
from stages.statistics.families import paired_t
from stages.statistics.half_sampling import (
    PAIRS,
    complement_deviations,
    half_sample_standard_error,
    interval,
    partitions_for,
    quarters,
)
from stages.statistics.legacy import over_layers
from tests.support.permutation import sign_flip

log = logging.getLogger(__name__)
RESULT = Path("metrics/calibration.json")
BLOCK = 2
"""coordinates that a base mixes"""
DECAY = 1.0
"""standard deviation of direction i: i^-DECAY"""
HALF_SAMPLES, PLAIN = 200, 6
ALPHA, CONFIDENCE = 0.05, 0.95
SIZE = 0.3
"""‖Δ‖ / ‖W‖ of an update"""
FAMILIES = 6


class Shape(NamedTuple):
    """The sizes of the networks and of their subspaces."""

    width: int
    layers: int
    k: int
    prompts: int

    @property
    def level(self) -> float:
        return float(preservation_chance(self.width, self.k, 1000, 0).mean())


HARD = Shape(width=64, layers=2, k=8, prompts=200)
"""the width of the default study with a fifth of its prompts: a quarter has fewer prompts than dimensions"""
LIKE_STUDY = Shape(width=16, layers=3, k=2, prompts=200)
"""n / d = 12 and k / d = 1 / 8, about those of the default study (1000 / 64, 8 / 64)"""


class Network(NamedTuple):
    weights: np.ndarray
    """(layers, d, d)"""
    scales: np.ndarray
    """(d,) standard deviations of the prompts"""


def base(generator: np.random.Generator, shape: Shape) -> Network:
    """Return block-diagonal weights: the network commutes with reflections of whole blocks, tanh being odd."""
    block = np.arange(shape.width) // BLOCK
    weights = generator.standard_normal((shape.layers, shape.width, shape.width)) * (block[:, None] == block)
    return Network(weights / np.sqrt(BLOCK), np.arange(1, shape.width + 1) ** -DECAY)


def update(generator: np.random.Generator, weights: np.ndarray, size: float = SIZE) -> np.ndarray:
    """Return an isotropic Δ of the shape of ``weights``, ‖Δ‖ = ``size`` ‖W‖."""
    delta = generator.standard_normal(weights.shape)
    return delta * (size * np.linalg.norm(weights) / np.linalg.norm(delta))


def reflected(generator: np.random.Generator, delta: np.ndarray) -> np.ndarray:
    """Return S Δ S with random signs S, one a block."""
    signs = np.repeat(generator.choice([-1.0, 1.0], delta.shape[-1] // BLOCK), BLOCK)
    return signs[:, None] * delta * signs


def prompts(generator: np.random.Generator, network: Network, n: int) -> np.ndarray:
    return generator.standard_normal((n, len(network.scales))) * network.scales  # (n, d)


def states(weights: np.ndarray, x: np.ndarray) -> list[np.ndarray]:
    """Return the residual stream (n, d) after each layer: x + tanh(x W)."""
    found = []
    for matrix in weights:
        x = x + np.tanh(x @ matrix)
        found.append(x)
    return found


class Measured(NamedTuple):
    """A value, and half-sample values (B,), of one quantity at one layer."""

    value: float
    replicates: np.ndarray


class Cloud(NamedTuple):
    """One layer of one model with what all its measures read."""

    x: np.ndarray
    whole: Spectrum
    parts: SubsetSpectra
    level: float
    """preservation by chance"""


def cloud(x: np.ndarray, halves: np.ndarray, shape: Shape) -> Cloud:
    parts = factorise_subsets(x, halves, PAIRS, True, shape.k, every_pair=True)
    return Cloud(x, factorise(x, True, shape.k), parts, shape.level)


def preservation_index(reference: Cloud, model: Cloud) -> Measured:
    """Return the index over complementary halves, and on each half between its quarters, as the stage `measure` has it."""
    halves = [[z.parts.halves.basis[:, side] for side in (0, 1)] for z in (reference, model)]
    first, second = np.array(PAIRS).T
    parts = [[z.parts.quarters.basis[:, side] for side in (first, second)] for z in (reference, model)]
    cross, ceiling = (score.mean() for score in _scores(*halves))
    level = reference.level
    return Measured(float(adjusted_index(cross, ceiling, level)), adjusted_index(*_scores(*parts), level).ravel())


def _scores(reference: Sequence[np.ndarray], model: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return cross score and noise ceiling between two subsets."""
    cross = (preservation(reference[0], model[1]) + preservation(reference[1], model[0])) / 2
    return cross, noise_ceiling(preservation(*reference), preservation(*model))


def log_rank(reference: Cloud, model: Cloud) -> Measured:
    return Measured(float(np.log(effective_rank(model.whole))), np.log(effective_rank(model.parts.pairs)).ravel())


def cka(reference: Cloud, model: Cloud, halves: np.ndarray) -> Measured:
    return Measured(float(debiased_cka(reference.x, model.x)), cka_subsets(reference.x, model.x, halves, PAIRS).ravel())


def curve(layers: Sequence[Measured], n: int) -> LayerValues:
    """Return the quantity at every layer, of one task."""
    replicates = np.stack([layer.replicates for layer in layers])[None]  # (1, layers, B)
    return LayerValues(np.array([[layer.value for layer in layers]]), complement_deviations(replicates, n))


def compare(
    generator: np.random.Generator, network: Network, deltas: Sequence[np.ndarray], shape: Shape
) -> dict[str, list[LayerValues]]:
    """Return the curves of the updated models by quantity, all on the same prompts and halves."""
    n = shape.prompts
    x = prompts(generator, network, n)
    halves = quarters(n, partitions_for(HALF_SAMPLES), int(generator.integers(2**31)))
    reference = [cloud(layer, halves, shape) for layer in states(network.weights, x)]
    found: dict[str, list[LayerValues]] = {"preservation_index": [], "effective_rank": [], "cka": []}
    for delta in deltas:
        model = [cloud(layer, halves, shape) for layer in states(network.weights + delta, x)]
        pairs = list(zip(reference, model, strict=True))
        found["preservation_index"].append(curve([preservation_index(*pair) for pair in pairs], n))
        found["effective_rank"].append(curve([log_rank(*pair) for pair in pairs], n))
        found["cka"].append(curve([cka(*pair, halves) for pair in pairs], n))
    return found


def tested(curves: dict[str, list[LayerValues]]) -> dict[str, float]:
    """Return p of the layer average and of the studentised maximum over layers, by quantity."""
    found = {}
    for quantity, pair in curves.items():
        result = contrast([tuple(pair)], CONFIDENCE, FAMILIES)
        found[f"{quantity}_average"], found[f"{quantity}_somewhere"] = result.p, result.layer_p
    return found


# ---------------------------------------------------------------- one run each, seeded by its number
def null_pair(run: int, shape: Shape) -> dict[str, float]:
    generator = np.random.default_rng([11, run])
    network = base(generator, shape)
    delta = update(generator, network.weights)
    deltas = delta, reflected(generator, delta)
    x = prompts(np.random.default_rng([12, run]), network, shape.prompts)
    scores = [cosines(network, delta, x) for delta in deltas]
    return tested(compare(generator, network, deltas, shape)) | {"sign_flip": sign_flip(*scores, draws=999, seed=run)}


def cosines(network: Network, delta: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Return a per-prompt score (n,): cosine between the last states of base and model."""
    a, b = (states(weights, x)[-1] for weights in (network.weights, network.weights + delta))
    return (a * b).sum(axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


def unequal_pair(run: int, shape: Shape) -> dict[str, float]:
    generator = np.random.default_rng([13, run])
    network = base(generator, shape)
    return tested(compare(generator, network, [update(generator, network.weights) for _ in range(2)], shape))


def planted_pair(run: int, shape: Shape, more: float, stream: int = 14) -> float:
    """Return z of the index where the second update is larger by the factor 1 + ``more``: positive where it is found."""
    generator = np.random.default_rng([stream, run])
    network = base(generator, shape)
    delta = update(generator, network.weights)
    deltas = [delta, (1 + more) * reflected(generator, delta)]
    pair = compare(generator, network, deltas, shape)["preservation_index"]
    found = contrast([tuple(pair)], CONFIDENCE, FAMILIES)
    return found.estimate / found.standard_error


def families(run: int, shape: Shape) -> float:
    """Return p over families of two independent updates each, whose difference is nil on average over families."""
    generator = np.random.default_rng([15, run])
    differences = []
    for _ in range(FAMILIES):
        network = base(generator, shape)
        x = prompts(generator, network, shape.prompts)
        halves = quarters(shape.prompts, partitions_for(PLAIN), int(generator.integers(2**31)))
        reference, *models = (
            [cloud(layer, halves, shape) for layer in states(weights, x)]
            for weights in (network.weights, *(network.weights + update(generator, network.weights) for _ in range(2)))
        )
        more, less = (
            [preservation_index(*pair).value for pair in zip(reference, model, strict=True)] for model in models
        )
        differences.append(np.mean(more) - np.mean(less))
    return paired_t(np.array(differences), CONFIDENCE).p


def correlated_layers(run: int, layers: int = 32, rho: float = 0.95) -> float:
    """Return two-sided p of Welch's test over AR(1) layers of two models without any difference."""
    noise = np.random.default_rng([16, run]).standard_normal((2, layers))
    for layer in range(1, layers):
        noise[:, layer] = rho * noise[:, layer - 1] + np.sqrt(1 - rho**2) * noise[:, layer]
    p = over_layers(*noise).welch_p
    return 2 * min(p, 1 - p)


def covering(run: int, shape: Shape) -> dict[str, tuple[float, float, float]]:
    """Return estimate and interval of each quantity of one model's last layer, on one data set of a fixed population."""
    network, delta = fixed(shape)
    generator = np.random.default_rng([17, run])
    x = prompts(generator, network, shape.prompts)
    halves = quarters(shape.prompts, partitions_for(HALF_SAMPLES), int(generator.integers(2**31)))
    reference, model = (cloud(states(w, x)[-1], halves, shape) for w in (network.weights, network.weights + delta))
    found = {
        "preservation_index": preservation_index(reference, model),
        "effective_rank": log_rank(reference, model),
        "cka": cka(reference, model, halves),
    }
    return {name: _interval(measured, shape.prompts) for name, measured in found.items()}


def _interval(measured: Measured, n: int) -> tuple[float, float, float]:
    low, high = interval(measured.value, half_sample_standard_error(measured.replicates, n), CONFIDENCE)
    return measured.value, float(low), float(high)


def fixed(shape: Shape) -> tuple[Network, np.ndarray]:
    generator = np.random.default_rng(8)
    network = base(generator, shape)
    return network, update(generator, network.weights)


def limits(n: int, shape: Shape) -> dict[str, float]:
    """Return the quantities of `covering` with ``n`` prompts: nothing left of sampling, so no ceiling below 1."""
    network, delta = fixed(shape)
    x = prompts(np.random.default_rng(9), network, n)
    a, b = (states(weights, x)[-1] for weights in (network.weights, network.weights + delta))
    reference, model = (factorise(z, True, shape.k) for z in (a, b))
    same = preservation(reference.basis, model.basis)
    return {
        "preservation_index": float(adjusted_index(same, np.array(1.0), shape.level)),
        "effective_rank": float(np.log(effective_rank(model))),
        "cka": float(debiased_cka(a, b)),
    }


# ---------------------------------------------------------------- many runs
def many(one: Callable, runs: int, *arguments) -> list:
    jobs = int(os.environ.get("JOBS", "1"))
    return Parallel(n_jobs=jobs, batch_size=8)(delayed(one)(run, *arguments) for run in range(runs))


def rate(flags: Sequence[bool]) -> dict[str, float]:
    """Return a share with its exact (Clopper-Pearson) 95 % interval."""
    from scipy.stats import binomtest

    found = binomtest(int(np.sum(flags)), len(flags)).proportion_ci(0.95, "exact")
    return {"rate": float(np.mean(flags)), "low": float(found.low), "high": float(found.high)}


def rejected(found: Sequence[dict[str, float]]) -> dict[str, dict[str, float]]:
    return {name: rate([p[name] <= ALPHA for p in found]) for name in found[0]}


def power(shape: Shape, runs: int, calibration: int, guess: float = 0.9, wanted: float = 0.9) -> dict[str, float]:
    """Plant the effect that is found in ``wanted`` of all cases, by seeds of its own, and count how often it is found.

    Twice, the effect at which a share ``wanted`` of all z lies above the critical one, as if z were proportional to it:
    the second time it nearly is, because little is left to change.
    """
    critical = NormalDist().inv_cdf(1 - ALPHA / 2)
    size = guess
    for stream in (20, 21):
        size *= critical / float(np.quantile(many(planted_pair, calibration, shape, size, stream), 1 - wanted))
    return {"effect": size} | rate(np.array(many(planted_pair, runs, shape, size)) > critical)


def coverage(shape: Shape, runs: int, prompts_of_limit: int) -> dict[str, dict[str, float]]:
    """Return the share of nominal 95 % intervals that hold the expected value at n prompts (from all other runs), and the limit.

    The measures are compared at equal n because some depend on it: a record's value speaks of n prompts. `bias` is how
    far that lies from the limit of endless prompts, in standard deviations of the estimate; `error_ratio` the root mean
    squared standard error over that standard deviation.
    """
    found, limit = many(covering, runs, shape), limits(prompts_of_limit, shape)
    result = {}
    for name, end in limit.items():
        value, low, high = np.array([run[name] for run in found]).T
        others = (value.sum() - value) / (runs - 1)
        result[name] = rate((low <= others) & (others <= high)) | {
            "limit_covered": float(np.mean((low <= end) & (end <= high))),
            "bias": float((value.mean() - end) / value.std(ddof=1)),
            "error_ratio": float(
                np.sqrt(np.mean((high - low) ** 2))
                / (2 * NormalDist().inv_cdf(0.5 + CONFIDENCE / 2) * value.std(ddof=1))
            ),
        }
    return result


def main() -> None:
    parts = {
        "coverage": lambda: coverage(LIKE_STUDY, 500, 200_000),
        "coverage_hard": lambda: coverage(HARD, 500, 50_000),
        "legacy_welch": lambda: rate(np.array(many(correlated_layers, 2000)) <= ALPHA),
        "unequal_updates": lambda: {n: r["rate"] for n, r in rejected(many(unequal_pair, 200, HARD)).items()},
        "families": lambda: rate(np.array(many(families, 1000, LIKE_STUDY)) <= ALPHA),
        "power": lambda: power(HARD, 400, 250),
        "null": lambda: rejected(many(null_pair, 2000, HARD)),
    }
    content = {}
    for name, part in parts.items():
        content[name] = part()
        log.info("%s: %s", name, content[name])
    write_json(RESULT, content)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    main()
