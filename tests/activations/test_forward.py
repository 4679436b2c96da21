"""Batched passes against a naive oracle: one prompt at a time, no padding, no batches."""

import threading
from copy import deepcopy

import numpy as np
import pytest
import torch

from stages.activations import forward
from stages.activations.forward import hook_names, require_fit, run_batches
from stages.activations.tokens import CollectionError, Tokens, batches, tokenise
from stages.models.sites import SITES, sites_of
from tests.support.forward_oracle import TOKENS, assert_close, collect, naive
from tests.support.tiny_models import POSITIONS, VOCABULARY, tiny_tokenizer

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


def test_the_head_is_not_computed(tiny_models):
    def refuse(*_):
        raise AssertionError("the language-model head ran")

    handle = tiny_models["llama"].lm_head.register_forward_hook(refuse)
    try:
        collect(tiny_models["llama"], TOKENS, ["resid_post"], ["last_token"], 64)
    finally:
        handle.remove()


@pytest.fixture
def small_memory(monkeypatch, tiny_models):
    """A model that runs out of memory above so many padded tokens; returns the shapes that passed."""
    model, passed, body = tiny_models["olmo3"], [], tiny_models["olmo3"].model.forward

    def limit(tokens, error):
        def run(input_ids, **options):
            if input_ids.numel() > tokens:
                raise error
            passed.append(tuple(input_ids.shape))
            return body(input_ids=input_ids, **options)

        monkeypatch.setattr(model.model, "forward", run)
        return passed

    return limit


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        MemoryError(),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes"),
    ],
)
def test_out_of_memory_halves_the_budget_and_goes_on(error, small_memory, tiny_models, caplog):
    expected = collect(tiny_models["olmo3"], TOKENS, ["resid_post"], ["last_token", "all_tokens"], 200)
    passed = small_memory(70, error)
    found = collect(tiny_models["olmo3"], TOKENS, ["resid_post"], ["last_token", "all_tokens"], 200)
    for key, rows in found.items():
        for one, other in zip(rows, expected[key], strict=True):
            assert_close(one, other)
    assert sum(rows for rows, _ in passed) == len(TOKENS.ids)
    assert "out of memory with 6 prompts of 31 tokens: budget halved to 93 tokens" in caplog.text
    assert caplog.text.count("budget halved") == 2  # 200 to 93 to 46, and no further attempt at the old budget


def test_a_single_prompt_that_does_not_fit_is_an_error(small_memory, tiny_models):
    small_memory(20, MemoryError())
    with pytest.raises(CollectionError, match=r"prompt p5 \(31 tokens\) alone does not fit into memory.*DEVICE=auto"):
        collect(tiny_models["olmo3"], TOKENS, ["resid_post"], ["last_token"], 64)


def test_another_error_of_the_model_is_raised_as_it_is(small_memory, tiny_models):
    small_memory(0, RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        collect(tiny_models["olmo3"], TOKENS, ["resid_post"], ["last_token"], 64)


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
        run_batches(tiny_models["llama"], TOKENS, planned, ["resid_post"], ["last_token"], 20, put)
    finally:
        handle.remove()
    assert len(threads) == len(planned) and threading.main_thread() not in threads

    def fail(rows, reduced):
        raise OSError("no space left on device")

    with pytest.raises(OSError, match="no space left"):
        run_batches(tiny_models["llama"], TOKENS, planned, ["resid_post"], ["last_token"], 20, fail)


def test_a_hook_that_does_not_run_is_an_error(tiny_models, monkeypatch):
    monkeypatch.setattr(forward, "hook_names", lambda sites, layers: hook_names(sites, layers + 1))
    with pytest.raises(CollectionError, match="blocks.3.hook_resid_post gave nothing"):
        run_batches(tiny_models["llama"], TOKENS, [np.arange(2)], ["resid_post"], ["last_token"], 64, lambda *_: None)


def test_a_prompt_longer_than_the_model_is_an_error_not_a_cut(tiny_models):
    tokens = tokenise(tiny_tokenizer(), ["w3", "w5 " * POSITIONS], ["short", "long"])
    with pytest.raises(
        CollectionError,
        match=f"prompt long has {POSITIONS + 1} tokens, the model {POSITIONS} positions.*never truncated",
    ):
        require_fit(tiny_models["gpt2"], tokens)


def test_ids_beyond_the_vocabulary(tiny_models):
    tokens = Tokens(("a",), [np.array([3, VOCABULARY])], [np.array([False, True])])
    with pytest.raises(
        CollectionError, match="prompt a has token id 40, the model's vocabulary ends at 39.*share a tokenizer"
    ):
        require_fit(tiny_models["llama"], tokens)
