"""Collection of a 7B model on a GPU against the matrix rate of the card, in one run.

Usage: python -m tests.speed.gpu_collection [--layers N] [--tokens-per-batch N]

Random bfloat16 weights of the shape of OLMo 3 7B, made on the device; the prior study's 1164 prompts (500 of GSM8K, 164
of HumanEval, 500 of LogiQA) with log-normal lengths about their means; resid_mid and resid_post of every block, last
token, shards on disk. Loading is not counted. DEVICE=cpu with few layers tries the script itself.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModelForCausalLM, Olmo3Config, PreTrainedModel

from stages.activations.tokens import Tokens, batches
from stages.models.loading import device
from stages.paradigms import shards
from stages.paradigms.shards import ShardPlan
from tests.speed.collection import parameters

# Task: prompts, mean length in tokens, standard deviation of its logarithm.
TASKS = {"gsm8k": (500, 76, 0.36), "humaneval": (164, 150, 0.45), "logiqa": (500, 190, 0.30)}
log = logging.getLogger(__name__)


def prompts(count: int, mean: float, spread: float, vocabulary: int, seed: int) -> Tokens:
    random = np.random.default_rng(seed)
    lengths = np.clip(mean * np.exp(random.normal(-(spread**2) / 2, spread, count)), 20, 1024).astype(int)
    ids = [random.integers(3, vocabulary, length) for length in lengths]
    return Tokens(tuple(map(str, range(count))), ids, [np.arange(len(i)) > 0 for i in ids])


def build(layers: int) -> PreTrainedModel:
    config = Olmo3Config(
        vocab_size=100278, hidden_size=4096, intermediate_size=11008, num_hidden_layers=layers, num_attention_heads=32,
        num_key_value_heads=32, max_position_embeddings=8192, dtype=torch.bfloat16,
    )  # fmt: skip
    with torch.device(device()):
        return AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).eval()


def synchronise() -> None:
    if device().type == "cuda":
        torch.cuda.synchronize()


def matrix_rate(rows: int) -> float:
    """Return the best FLOP/s of the MLP's matrix product, bfloat16."""
    x = torch.randn(rows, 4096, device=device(), dtype=torch.bfloat16)
    weight = torch.randn(4096, 11008, device=device(), dtype=torch.bfloat16)
    times = []
    for _ in range(20):
        synchronise()
        start = time.perf_counter()
        x @ weight
        synchronise()
        times.append(time.perf_counter() - start)
    return 2 * rows * 4096 * 11008 / min(times)


def flops(model: PreTrainedModel, tokens: Tokens, padded: bool, budget: int) -> float:
    """Return the operations of the body: two a weight and token, and attention's two products over the causal half."""
    weights = sum(p.numel() for p in model.model.layers.parameters())
    pairs = [
        (length, int(tokens.lengths[rows].max()) if padded else int(length))
        for rows in batches(tokens.lengths, budget)
        for length in tokens.lengths[rows]
    ]
    layers = model.config.num_hidden_layers
    return float(sum(2 * weights * own + 2 * layers * 4096 * own * own for _, own in pairs))


@torch.inference_mode()
def bare(model: PreTrainedModel, tokens: Tokens, budget: int) -> None:
    for rows in batches(tokens.lengths, budget):
        ids = np.zeros((len(rows), tokens.lengths[rows].max()), int)
        model.model(input_ids=torch.from_numpy(ids).to(device()), use_cache=False)
    synchronise()


def collect(model: PreTrainedModel, tokens: Tokens, budget: int, aggregation: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        plan = ShardPlan("task", tokens, Path(folder), [batches(tokens.lengths, budget)])
        shards.compute(model, plan, 0, parameters(budget, aggregation), budget)


def main(layers: int, budget: int) -> None:
    model, rate = build(layers), matrix_rate(budget)
    log.info("%s, matrix product %.1f TFLOP/s, %d layers, token budget %d", device(), rate / 1e12, layers, budget)
    tasks = {name: prompts(*shape, 100278, seed) for seed, (name, shape) in enumerate(TASKS.items())}
    bare(model, tasks["gsm8k"], budget)  # warms up
    for what, run in {
        "bare body": bare,
        "collect, last token": lambda m, t, b: collect(m, t, b, "last_token"),
        "collect, mean": lambda m, t, b: collect(m, t, b, "mean"),
    }.items():
        start = time.perf_counter()
        for tokens in tasks.values():
            run(model, tokens, budget)
        seconds = time.perf_counter() - start
        needed = sum(flops(model, tokens, False, budget) for tokens in tasks.values())
        done = sum(flops(model, tokens, True, budget) for tokens in tasks.values())
        total = sum(int(tokens.lengths.sum()) for tokens in tasks.values())
        log.info(
            "%-20s %7.2f s, %8.0f tokens/s, %.0f %% of the matrix rate (%.0f %% with padding)",
            what, seconds, total / seconds, 100 * needed / seconds / rate, 100 * done / seconds / rate,
        )  # fmt: skip


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layers", type=int, default=32)
    parser.add_argument("--tokens-per-batch", type=int, default=16384)
    arguments = parser.parse_args()
    main(arguments.layers, arguments.tokens_per_batch)
