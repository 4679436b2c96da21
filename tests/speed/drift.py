"""The adjacent-layer analysis of sampled tokens beside the prior system's of all tokens: python -m tests.speed.drift.

Ours: everything that `stages.drift.measure` takes of the neighbouring layers of one task and model (all distances, four bases,
with and without sinks, intervals over prompts, debiased and legacy distances, plans), on 500 tokens of 500 prompts at
24 layers of width 1024, embedding and final norm included. The prior system: PCA of each layer to 50 dimensions, rows
of unit norm, Sinkhorn at ε = .1 on N x N costs (1000 iterations at most, its library's own), here on all N = 30,600
tokens of 500 prompts and not on its subsample of 1000; and mean Euclidean, cosine and Manhattan distances over N x N
pairs. It is run at growing N on one pair of layers and extrapolated by N² and by the number of pairs.
Both sides in one process on the same clouds, in processor time; peak memory is what arrays add (tracemalloc).
"""

import argparse
import logging
import os
import time
import tracemalloc
from collections.abc import Callable

os.environ.setdefault("POT_BACKEND_DISABLE_PYTORCH", "1")

import numpy as np
from scipy.spatial.distance import cdist

from stages.drift.clouds import CONTENT, WITH_SINKS, half_rows
from stages.drift.comparisons import layer_rows
from stages.drift.params import Drift
from stages.geometry.transport import legacy_transport, mean_distances
from stages.shared.params import load

log = logging.getLogger(__name__)
LAYERS, D, PROMPTS, TOKENS, COMPONENTS = 24, 1024, 500, 30_600, 50
DEPTHS = LAYERS + 2


def clouds(n: int, depths: int) -> np.ndarray:
    """Return clouds (depths, n, D) with a power law of singular values.

    From depth to depth they take a step of 30%, and their mean drifts.
    """
    generator = np.random.default_rng(0)
    scale = np.arange(1, D + 1) ** -0.5  # (d,)
    steps = generator.standard_normal((depths, n, D)) * scale
    return steps[0] + 0.3 * np.cumsum(steps, axis=0) + 0.1 * np.arange(depths)[:, None, None]


def adjacent(values: np.ndarray, params: Drift) -> None:
    """Compare the neighbouring layers, two depths at a time; no pair of layers further apart."""
    everything = np.ones(values.shape[1], bool)
    masks = {CONTENT: everything, WITH_SINKS: everything}
    halves = half_rows(np.arange(values.shape[1]), everything, params.blocks, params.seed, "benchmark")
    for first in range(len(values) - 1):
        layer_rows(values[first : first + 2], masks, halves, {}, params)


def prior_distances(x: np.ndarray, y: np.ndarray) -> None:
    for metric in ("euclidean", "cosine", "cityblock"):
        cdist(x, y, metric).mean()


def cost_of(function: Callable[[], object]) -> tuple[float, float]:
    """Return seconds of processor time, and the peak of what was allocated in GB."""
    tracemalloc.start()
    start = time.process_time()
    function()
    seconds = time.process_time() - start
    peak = tracemalloc.get_traced_memory()[1] / 1e9
    tracemalloc.stop()
    return seconds, peak


def show_prior(name: str, n: int, cost: tuple[float, float], own: tuple[float, float]) -> None:
    seconds, peak = cost[0] * (TOKENS / n) ** 2 * (DEPTHS - 1), cost[1] * (TOKENS / n) ** 2
    log.info("prior %s, %d tokens, one pair: %.2f s, %.3f GB", name, n, *cost)
    log.info(
        "  %d tokens and %d pairs by N²: %.0f s, %.1f GB; %.0f and %.0f times ours",
        *(TOKENS, DEPTHS - 1, seconds, peak, seconds / own[0], peak / own[1]),
    )


def compare(largest: int) -> None:
    params, values = load("drift", Drift), clouds(PROMPTS, DEPTHS)
    adjacent(values[:2, :64], params)  # warms up: imports
    own = cost_of(lambda: adjacent(values, params))
    log.info("%d layers, %d tokens, d = %d: %.1f s, %.3f GB", LAYERS, PROMPTS, D, *own)
    log.info("of which the clouds hold %.3f GB beside", values.nbytes / 1e9)
    x, y = clouds(largest, 2)
    n = PROMPTS
    while n <= largest:
        show_prior("transport", n, cost_of(lambda n=n: legacy_transport(x[:n], y[:n], COMPONENTS)), own)
        show_prior("distances", n, cost_of(lambda n=n: prior_distances(x[:n], y[:n])), own)
        n *= 2
    everything = cost_of(lambda: mean_distances(*clouds(TOKENS // 2, 2)))
    log.info("mean distances of %d tokens in blocks, their making included: %.1f s, %.2f GB", TOKENS // 2, *everything)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--largest", type=int, default=4000)
    compare(parser.parse_args().largest)
