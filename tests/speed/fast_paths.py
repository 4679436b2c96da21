"""Fast paths beside plain ones (Muon, spectra, factorisation), as ratios within one run.

Usage: python -m tests.speed.fast_paths

Nothing is asserted: ratios depend on the machine. Each pair computes the same result, which the tests check.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

import numpy as np
import torch

from stages.geometry.registry import catalogue
from stages.geometry.spectrum import factorise
from stages.organisms.muon import Muon
from tests.support.plain_measures import evaluate

log = logging.getLogger(__name__)


def seconds(function: Callable[[], object], repeats: int = 5) -> float:
    """Return the median time of a call, after one that does not count."""
    function()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return sorted(times)[repeats // 2]


def report(name: str, plain: Callable[[], object], fast: Callable[[], object]) -> None:
    slow, quick = seconds(plain), seconds(fast)
    log.info("%-60s %8.1f ms %8.1f ms  x %.1f", name, 1000 * slow, 1000 * quick, slow / quick)


def muon() -> tuple[Callable[[], object], Callable[[], object]]:
    """Return a step over the block matrices of the default organism: by torch's Muon, and by ours."""
    shapes = [(64, 64)] * 32 + [(128, 64)] * 16 + [(64, 128)] * 8
    optimizers = []
    for optimizer in (torch.optim.Muon, Muon):
        weights = [torch.nn.Parameter(torch.randn(shape)) for shape in shapes]
        for weight in weights:
            weight.grad = torch.randn_like(weight)
        optimizers.append(optimizer(weights, lr=0.01))
    return optimizers[0].step, optimizers[1].step


def spectra() -> tuple[Callable[[], object], Callable[[], object]]:
    """Return all spectral measures of one matrix: by a factorisation each, and by one for all."""
    x = np.random.default_rng(0).standard_normal((1000, 256))
    measures = [m for m in catalogue((8,), [(0.08, 0.5)], 0.9, 16, (0, 0.1, 0.4, 1)) if m.input == "spectrum"]
    variants = [(m, v) for m in measures for v in m.variants if v.centred]

    def shared() -> None:
        spectrum = factorise(x, centred=True)
        for _, variant in variants:
            variant.function(spectrum)

    return lambda: [evaluate(m, v, x, x) for m, v in variants], shared


def factorisation() -> tuple[Callable[[], object], Callable[[], object]]:
    """Return singular values and right vectors: by full SVD, and by eigenvectors of the smaller Gram matrix."""
    x = np.random.default_rng(0).standard_normal((1000, 256))
    return lambda: np.linalg.svd(x - x.mean(0), full_matrices=False), lambda: factorise(x, centred=True, k=8)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    log.info("%-60s %11s %11s", "", "plain", "fast")
    report("Muon step, 56 matrices: torch.optim.Muon, ours", *muon())
    report("spectral measures of 1000 x 256: factorised each, once", *spectra())
    report("spectrum and basis of 1000 x 256: SVD, Gram", *factorisation())
