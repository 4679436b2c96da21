"""The cost of measuring a checkpoint beside bare forward passes over the same tokens: python -m tests.speed.tracing.

Rounds of both in one process, in turn, in processor time; medians. Geometry alone: answers' likelihood and accuracy read
other tokens, and are timed apart.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from stages.activations.sequences import Sequences
from stages.models.capture import base_model
from stages.models.checkpoint import Checkpoint
from stages.models.loading import load_model
from stages.models.runs import saved_checkpoints
from stages.shared.params import load
from stages.trace.checkpoint import measure_accuracy, measure_answers, measure_geometry
from stages.trace.follow import read_checkpoint_inputs
from stages.trace.params import Trace


def seconds(function: Callable[[], object]) -> float:
    start = time.process_time()
    function()
    return time.process_time() - start


def bare(checkpoint: Checkpoint, sequences: Sequences, tokens_per_batch: int) -> None:
    """Load the model and pass all tokens through its body, keeping nothing."""
    model = load_model(checkpoint, "float32")
    rows = max(1, tokens_per_batch // sequences.ids.shape[1])
    with torch.inference_mode():
        for part in torch.from_numpy(sequences.ids).split(rows):
            base_model(model)(input_ids=part, use_cache=False)


def measured(checkpoint: Checkpoint, sequences: Sequences, params: Trace) -> None:
    measure_geometry(load_model(checkpoint, "float32"), sequences, params)


def compare(name: str, checkpoint: Checkpoint, sequences: Sequences, params: Trace, rounds: int) -> None:
    times = []
    for _ in range(rounds + 1):
        times.append((
            seconds(lambda: bare(checkpoint, sequences, params.tokens_per_batch)),
            seconds(lambda: measured(checkpoint, sequences, params)),
        ))  # fmt: skip
    times = times[1:]  # the first round warms up
    plain, full = (statistics.median(column) for column in zip(*times, strict=True))
    ratios = sorted(full / plain for plain, full in times)
    print(
        f"{name}: bare {plain:.2f} s, measured {full:.2f} s, ratio {statistics.median(ratios):.2f} "
        f"({ratios[0]:.2f} to {ratios[-1]:.2f})"
    )


def organism(rounds: int, params: Trace) -> None:
    """Compare on the last checkpoint of the base of family 0, on the study's tokens."""
    folder = saved_checkpoints("base-s0")[-1].folder
    checkpoint, inputs = (
        Checkpoint("base", folder, "base", "local", "", "olmo3"),
        read_checkpoint_inputs("base-s0", params),
    )
    compare(f"organism, {inputs.sequences.ids.size} tokens", checkpoint, inputs.sequences, params, rounds)
    model = load_model(checkpoint, "float32")
    print(f"  answers {seconds(lambda: measure_answers(model, inputs.answers, params.tokens_per_batch)):.2f} s")
    print(f"  accuracy {seconds(lambda: measure_accuracy(model, inputs, params)):.2f} s")


def gpt2(rounds: int, params: Trace) -> None:
    """Compare on GPT-2 small's shape with random weights: d = 768, 12 layers."""
    ids = np.random.default_rng(0).integers(0, 50000, (params.sequences, params.length))
    content = np.ones(ids.shape, bool)
    content[:, 0] = False
    with tempfile.TemporaryDirectory() as folder:
        torch.manual_seed(0)
        GPT2LMHeadModel(GPT2Config()).save_pretrained(folder)
        checkpoint = Checkpoint("gpt2", Path(folder), "base", "local", "", "gpt2")
        compare(f"GPT-2 small's shape, {ids.size} tokens", checkpoint, Sequences(ids, content), params, rounds)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    params = load("trace", Trace)
    organism(rounds, params)
    gpt2(max(1, rounds // 2), params)
