"""Time and memory of the measures beside plainer ways, as ratios within one run.

Usage: python -m tests.speed.measures    (some five minutes)

Nothing is asserted: ratios depend on the machine. Seconds are those of the processor (one thread, so that on an idle
machine they are those of the clock); the two sides of a ratio take turns, so that what else runs there slows both, and
the median of the rounds is shown. Activations are synthetic: a power law of singular values about a mean.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import scipy.linalg
import yaml

from stages.activations.store import ActivationHeader, Block, write
from stages.geometry.registry import SIDES, ActivationMeasure, MeasureVariant, catalogue
from stages.geometry.resampling import SubsetSpectra, factorise_subsets, joint_rows
from stages.geometry.spectrum import Spectrum, factorise
from stages.geometry.subspace import preservation, preservation_chance, preservation_sweep
from stages.statistics.ceiling import adjusted_index, noise_ceiling
from stages.statistics.half_sampling import PAIRS, partitions_for, quarters
from tests.support.project import ROOT

log = logging.getLogger(__name__)
KS, LEGACY_K, HALF_SAMPLES, ROUNDS = (4, 8, 12), 62, 200, 3
RANGES, BANDS = [(0.08, 0.5), (0.02, 0.2), (0.2, 0.9)], (0, 0.1, 0.4, 1)
FROM_FACTORISATION = ("spectrum", "bases", "captured")


def pair(n: int, d: int) -> tuple[np.ndarray, np.ndarray]:
    """Return activations (n, d) of a reference and of a model that moved a little from it."""
    generator = np.random.default_rng(0)
    shape = np.arange(1, d + 1) ** -0.5  # (d,)
    x, change = generator.standard_normal((2, n, d)) * shape
    return x + 3 * shape, x + 0.3 * change + 3 * shape


def alternating(rounds: int, *sides: Callable[[], object]) -> list[float]:
    """Return median seconds of processor time of each of ``sides``, called in turn."""
    times: list[list[float]] = [[] for _ in sides]
    for _ in range(rounds):
        for seconds, side in zip(times, sides, strict=True):
            start = time.process_time()
            side()
            seconds.append(time.process_time() - start)
    return [float(np.median(seconds)) for seconds in times]


def variants() -> list[tuple[ActivationMeasure, MeasureVariant]]:
    measures = catalogue(KS, RANGES, 0.9, LEGACY_K, BANDS)
    return [(m, v) for m in measures if m.input in FROM_FACTORISATION for v in m.variants]


def by_svd(x: np.ndarray, centred: bool, k: int) -> Spectrum:
    """Run one thin singular value decomposition, as the prior system calls it for every measure."""
    n, d = x.shape
    _, s, right = scipy.linalg.svd(x - x.mean(axis=0) * centred, full_matrices=False)
    return Spectrum(s[: min(n - centred, d)], n, d, centred, right[:k].T if k else None)


def values(x: np.ndarray, y: np.ndarray, spectrum_of: Callable[[np.ndarray, bool, int], Spectrum]) -> np.ndarray:
    """Return all measures that read a factorisation, of the model ``y`` (n, d) against the reference ``x`` (n, d)."""
    return np.array([_value(m, v, x, y, spectrum_of) for m, v in variants()])


def _value(
    measure: ActivationMeasure, variant: MeasureVariant, x: np.ndarray, y: np.ndarray, spectrum_of: Callable
) -> float:
    if measure.input == "spectrum":
        return float(variant.function(spectrum_of(y, variant.centred, 0)))
    bases = [spectrum_of(z, variant.centred, variant.k).basis[:, : variant.k] for z in (x, y)]  # (d, k) each
    if measure.input == "bases":
        return float(variant.function(*bases))
    of_reference = SIDES[0] in variant.name
    own, other = bases if of_reference else bases[::-1]
    cloud = x if of_reference else y
    return float(variant.function(cloud - variant.centred * cloud.mean(axis=0), own, other))


def values_from_one(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the same from one factorisation of each matrix and centring."""
    found: dict[tuple[bool, bool], Spectrum] = {}

    def shared(z: np.ndarray, centred: bool, _: int) -> Spectrum:
        if (z is y, centred) not in found:
            found[z is y, centred] = factorise(z, centred, max(*KS, LEGACY_K))
        return found[z is y, centred]

    return values(x, y, shared)


def factorised_once() -> None:
    x, y = pair(500, 4096)
    found: dict[str, np.ndarray] = {}
    slow, fast = alternating(
        ROUNDS, lambda: found.update(slow=values(x, y, by_svd)), lambda: found.update(fast=values_from_one(x, y))
    )
    apart = np.abs(found["fast"] / found["slow"] - 1).max()
    row(f"{len(found['fast'])} records of 500 x 4096: an SVD each, shared", slow, fast, slow / fast)
    log.info("%-52s %.0e", "  largest relative difference", apart)


def index_replicates(x: np.ndarray, y: np.ndarray, parts: np.ndarray, k: int, level: float) -> np.ndarray:
    """Return replicates (R, pairs) of the adjusted index of centred preservation."""
    subsets = [factorise_subsets(z, parts, PAIRS, True, k, every_pair=False) for z in joint_rows(x, y)]
    return replicates_from(*subsets, k, level)


def replicates_from(reference: SubsetSpectra, model: SubsetSpectra, k: int, level: float) -> np.ndarray:
    first, second = np.array(PAIRS).T
    (a, b), (c, e) = ((s.quarters.basis[:, first], s.quarters.basis[:, second]) for s in (reference, model))
    cross, back, within, own = (preservation_sweep(*bases, (k,))[0] for bases in ((a, e), (b, c), (a, b), (c, e)))
    return adjusted_index((cross + back) / 2, noise_ceiling(within, own), level)


def half_samples(d: int) -> None:
    k = 8
    x, y = pair(500, d)
    parts, level = quarters(500, partitions_for(HALF_SAMPLES), 0), float(preservation_chance(d, k, 100, 0).mean())
    plain, many = alternating(
        ROUNDS,
        lambda: preservation(factorise(x, True, k).basis, factorise(y, True, k).basis),
        lambda: index_replicates(x, y, parts, k, level),
    )
    row(f"preservation, {len(PAIRS) * len(parts)} replicates of its index, d = {d}", plain, many, many / plain)


def row(name: str, one: float, other: float, ratio: float) -> None:
    log.info("%-52s %8.3f s %8.3f s  x %.1f", name, one, other, ratio)


def collect(folder: Path, layers: int) -> None:
    """Write activation files of a reference and a model on one task, (500, 1024) in each of ``layers`` layers."""
    x, y = pair(500, 1024)
    for model, cloud in (("base-s0", x), ("sft-s0", y)):
        header = ActivationHeader(
            model=model, task="logic", resolved_revision="local", weight_hash="w", paradigm="sft", architecture="olmo3",
            n_layers=layers, d_model=1024, aggregations=("last_token",), sites=("resid_post",), mask="last real token",
            precision="float32", prompt_format="plain", prompt_ids=tuple(map(str, range(500))), token_hash="t",
            tokens_per_batch=1, library_versions={},
        )  # fmt: skip
        blocks = (Block("last_token", "resid_post", layer, cloud.astype(np.float32)) for layer in range(layers))
        write(folder / "data/activations" / model / "logic.h5", header, blocks)


def peak(layers: int) -> float:
    """Return the peak memory in MiB of the measure stage in a process of its own with one worker; without intervals, for time."""
    params = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    study = {"seeds": [0], "organisms": ["base", "sft"], "models": {}, "tasks": ["logic"], "benchmarks": []}
    nulls = {"subspaces": 100, "spectra": 2}
    content = {"study": study, "measure": params["measure"] | {"interval_sites": [], "nulls": nulls}}
    code = (
        "import resource, stages.paradigms.measure as m; m.main('sft-s0', 'base-s0'); "
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    with tempfile.TemporaryDirectory() as name:
        collect(Path(name), layers)
        (Path(name) / "params.yaml").write_text(yaml.safe_dump(content))
        environment = os.environ | {"PYTHONPATH": str(ROOT), "JOBS": "1", "DEVICE": "cpu"}
        run = subprocess.run(
            [sys.executable, "-c", code], cwd=name, env=environment, stdout=subprocess.PIPE, text=True, check=True
        )
    return int(run.stdout) / 1024  # Linux counts in KiB


def memory() -> None:
    few, many = peak(8), peak(32)
    log.info(
        "%-52s %6.0f MiB %6.0f MiB  x %.2f", "peak of measure, 500 x 1024: 8 layers, 32 layers", few, many, many / few
    )


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    log.info("%-52s %10s %10s", "", "one", "other")
    for width in (64, 128, 4096):
        half_samples(width)
    factorised_once()
    memory()
