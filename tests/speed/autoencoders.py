"""The routed hierarchical autoencoder beside a loop over all parents: python -m tests.speed.autoencoders.

Forward and backward at 16 parents x 8 children x 32 dimensions, d = 1024, batches of 4096, one parent a token, in
processor time, interleaved; beside them the matrix products that the chosen experts need and no more, forward and
backward, and the same module at 64, 256 and 1024 parents.
"""

import argparse
import logging
import time
from collections.abc import Callable

import numpy as np
import torch

from stages.concepts.autoencoders.hierarchical import Hierarchical, Shape

log = logging.getLogger(__name__)
SHAPE, BATCH = Shape(d=1024, parents=16, children=8, subspace=32, k=1), 4096


def loop_over_parents(model: Hierarchical, x: torch.Tensor) -> torch.Tensor:
    """Return the reconstruction as the prior system computes it.

    Every parent's children for every token, then all but the chosen weighed with 0.
    """
    centred = x - model.bias
    strengths = torch.relu(centred @ model.router.T + model.router_bias)
    kept = strengths.topk(model.shape.k, dim=-1)
    mask = torch.zeros_like(strengths).scatter(-1, kept.indices, 1.0)
    whole = (strengths * mask) @ model.parents + model.bias
    for i in range(model.shape.parents):
        coordinates = centred @ model.down[i].T
        codes = torch.relu(coordinates @ model.child_encoder[i].T + model.child_bias[i])
        best = codes.max(dim=-1)
        departure = (best.values[:, None] * model.atoms[i][best.indices]) @ model.up[i]
        whole = whole + mask[:, i, None] * (strengths[:, i, None] > 0) * departure
    return whole


def products(model: Hierarchical, x: torch.Tensor) -> None:
    """Multiply by router, parents, down, children and up, forward and twice as much backward, at the sizes needed."""
    shape, n = model.shape, len(x)
    rows = n * shape.k // min(shape.parents, n)
    router, weights, gradient = model.router.detach(), torch.rand(n, shape.parents), torch.rand(n, shape.d)
    for _ in range(2):  # forward: logits, parents; backward: the gradients of their weights
        x @ router.T
        weights @ router
    gradient @ router.T  # of the parents' codes
    part, small = x[:rows], torch.rand(rows, shape.subspace)
    for i in range(min(shape.parents, n)):
        down = model.down[i].detach()
        part @ down.T, small @ down  # down, up
        small.T @ part, small.T @ part  # gradients of both
        part @ down.T  # gradient of the codes through up


def seconds(run: Callable[[], object], rounds: int) -> list[float]:
    found = []
    for _ in range(rounds):
        start = time.process_time()
        run()
        found.append(time.process_time() - start)
    return found


def step(forward: Callable[[], torch.Tensor], x: torch.Tensor, model: Hierarchical) -> None:
    model.zero_grad()
    (x - forward()).square().mean().backward()


def compare(rounds: int) -> None:
    x = torch.randn(BATCH, SHAPE.d, generator=torch.Generator().manual_seed(0))
    model = Hierarchical(SHAPE, 0)
    with torch.no_grad():
        torch.testing.assert_close(model(x).whole, loop_over_parents(model, x), rtol=1e-3, atol=1e-4)
    ways = {
        "routed": lambda: step(lambda: model(x).whole, x, model),
        "loop over parents": lambda: step(lambda: loop_over_parents(model, x), x, model),
        "matrix products": lambda: products(model, x),
    }
    times = {name: [] for name in ways}
    for _ in range(rounds):
        for name, run in ways.items():
            times[name] += seconds(run, 1)
    medians = {name: float(np.median(found[1:])) for name, found in times.items()}
    for name, median in medians.items():
        log.info("%s: %.3f s; routed is %.2f of it", name, median, medians["routed"] / median)
    for parents in (64, 256, 1024):
        larger = Hierarchical(SHAPE._replace(parents=parents), 0)
        run = seconds(lambda larger=larger: step(lambda: larger(x).whole, x, larger), 4)[1:]
        need = seconds(lambda larger=larger: products(larger, x), 4)[1:]
        log.info("%d parents: %.3f s, products %.3f s", parents, np.median(run), np.median(need))


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    compare(parser.parse_args().rounds)
