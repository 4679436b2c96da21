"""Batched passes against a naive oracle: one prompt at a time, no padding, no batches."""

import threading
from copy import deepcopy

import numpy as np
import pytest
import torch

from stages.activations.positions import gather_positions
from stages.activations.tokens import batches
from stages.models.sites import SITES, sites_of
from tests.support.forward_oracle import TOKENS, assert_close, collect, naive, run_out_once

AGGREGATIONS = ("last_token", "mean", "all_tokens")


@pytest.mark.parametrize("family", SITES)
def test_batched_equals_one_prompt_at_a_time(family, tiny_models):
    """Padding changes nothing, every prompt gets its own values, and each aggregation is what it says."""
    model, names = tiny_models[family], sites_of(family)
    collected = collect(model, TOKENS, names, AGGREGATIONS, 64)
    assert len(collected) == 3 * len(names) * 3
    for row, ids in enumerate(TOKENS.ids):
        for hook, hidden in naive(model, ids, names).items():
            assert_close(collected["last_token", hook][row][0], hidden[-1])
            # <bos> at position 0 is the only special token here
            assert_close(collected["mean", hook][row][0], hidden[1:].mean(axis=0))
            assert_close(collected["all_tokens", hook][row], hidden)


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("budget", [1, 50, 64, 200])
def test_the_result_does_not_depend_on_the_token_budget(budget, precision, tiny_models):
    """Within 1e-4 in float32, and a few roundings of bfloat16."""
    model = deepcopy(tiny_models["olmo3"]).to(precision)
    whole = collect(model, TOKENS, ["resid_mid"], ["last_token", "mean"], 10_000)
    tolerance = 1e-4 if precision == torch.float32 else 8 * torch.finfo(precision).eps
    for key, rows in collect(model, TOKENS, ["resid_mid"], ["last_token", "mean"], budget).items():
        error = np.abs(np.array(rows) - np.array(whole[key])).max()
        assert error <= tolerance * np.abs(np.array(whole[key])).max()


def test_the_same_bytes_twice(tiny_models):
    first, second = (collect(tiny_models["olmo3"], TOKENS, ["resid_post"], AGGREGATIONS, 64) for _ in range(2))
    assert all(np.array_equal(a, b) for key in first for a, b in zip(first[key], second[key], strict=True))


def test_positions_are_the_same_when_memory_runs_out_once(tiny_models, monkeypatch):
    model = tiny_models["olmo3"]
    expected = collect(model, TOKENS, ["resid_mid"], AGGREGATIONS, 200)
    passed = run_out_once(monkeypatch, model)
    collected = collect(model, TOKENS, ["resid_mid"], AGGREGATIONS, 200)
    assert len(passed) > 1
    for key, rows in collected.items():
        for values, whole in zip(rows, expected[key], strict=True):
            assert_close(values, whole)


def test_results_are_put_in_another_thread_while_the_next_batch_computes(tiny_models):
    """The first result is held back until the third batch began; a failure in that thread is raised here."""
    begun, threads = threading.Semaphore(0), []

    def count(*_):
        begun.release()

    def put(rows, reduced):
        if not threads:
            assert all(begun.acquire(timeout=60) for _ in range(3))
        threads.append(threading.current_thread())

    handle = tiny_models["llama"].model.register_forward_pre_hook(count)
    try:
        planned = batches(TOKENS.lengths, 20)
        assert len(planned) > 3
        gather_positions(tiny_models["llama"], TOKENS, planned, ["resid_post"], ["last_token"], 20, put)
    finally:
        handle.remove()
    assert len(threads) == len(planned) and threading.main_thread() not in threads

    def fail(rows, reduced):
        raise OSError("no space left on device")

    with pytest.raises(OSError, match="no space left"):
        gather_positions(tiny_models["llama"], TOKENS, planned, ["resid_post"], ["last_token"], 20, fail)
