"""Collection against a naive oracle: one prompt at a time, no padding, no batches."""

from copy import deepcopy

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_models import POSITIONS, VOCABULARY, tiny_tokenizer

from stages.activations.collection import (
    AGGREGATIONS,
    CollectionError,
    Tokens,
    batches,
    collect,
    token_offsets,
    tokenise,
)
from stages.models.capture import base_model, capture
from stages.models.sites import SITES, sites_of

RNG = np.random.default_rng(0)
PROMPTS = [" ".join(f"w{i}" for i in RNG.integers(3, VOCABULARY, size=n)) for n in (4, 19, 1, 7, 7, 30, 2, 12)]
TOKENS = tokenise(tiny_tokenizer(), PROMPTS, [f"p{i}" for i in range(len(PROMPTS))])


def naive(model, ids, site_names):
    """Residual stream (length, d_model) per hook, of one prompt alone."""
    with torch.inference_mode(), capture(model, site_names) as seen:
        base_model(model)(input_ids=torch.tensor(ids)[None], use_cache=False)
    return {hook: hidden[0].numpy() for hook, hidden in seen.items()}


@pytest.mark.parametrize("family", SITES)
def test_batched_equals_one_prompt_at_a_time(family, tiny_models, tmp_path):
    """Padding changes nothing, the order is restored, and each aggregation is what it says."""
    model, names = tiny_models[family], sites_of(family)
    collected = collect(model, TOKENS, names, AGGREGATIONS, tokens_per_batch=64, scratch=tmp_path)
    offsets = token_offsets(TOKENS)
    assert len(collected) == 3 * len(names) * 3
    for row, ids in enumerate(TOKENS.ids):
        for hook, hidden in naive(model, ids, names).items():
            atol = 1e-5 * np.abs(hidden).max()
            np.testing.assert_allclose(collected["last_token", hook][row], hidden[-1], rtol=1e-4, atol=atol)
            # <bos> at position 0 is the only special token here
            np.testing.assert_allclose(collected["mean", hook][row], hidden[1:].mean(axis=0), rtol=1e-4, atol=atol)
            np.testing.assert_allclose(
                collected["all_tokens", hook][offsets[row] : offsets[row + 1]], hidden, rtol=1e-4, atol=atol
            )


def test_batches_of_any_budget_agree(tiny_models):
    whole = collect(tiny_models["olmo3"], TOKENS, ["resid_mid"], ["last_token", "mean"], 10_000)
    for budget in (1, 50):
        for key, values in collect(tiny_models["olmo3"], TOKENS, ["resid_mid"], ["last_token", "mean"], budget).items():
            np.testing.assert_allclose(values, whole[key], rtol=1e-4, atol=1e-5 * np.abs(whole[key]).max())


def test_the_same_bytes_twice_and_without_scratch(tiny_models, tmp_path):
    first = collect(tiny_models["olmo3"], TOKENS, ["resid_post"], AGGREGATIONS, 64, tmp_path)
    second = collect(tiny_models["olmo3"], TOKENS, ["resid_post"], AGGREGATIONS, 64)
    assert all(np.array_equal(first[key], second[key]) for key in first)
    assert {values.dtype for values in first.values()} == {np.dtype(np.float32)}


def test_bfloat16_is_stored_as_float32(tiny_models):
    model = deepcopy(tiny_models["llama"]).bfloat16()
    collected = collect(model, TOKENS, ["resid_post"], AGGREGATIONS, 64)
    assert {values.dtype for values in collected.values()} == {np.dtype(np.float32)}


def test_the_head_is_not_computed(tiny_models):
    def refuse(*_):
        raise AssertionError("the language-model head ran")

    handle = tiny_models["llama"].lm_head.register_forward_hook(refuse)
    try:
        collect(tiny_models["llama"], TOKENS, ["resid_post"], ["last_token"], 64)
    finally:
        handle.remove()


@given(st.lists(st.integers(1, 50), min_size=1, max_size=60), st.integers(1, 200))
def test_batches_hold_every_row_once_within_the_budget(lengths, budget):
    lengths = np.array(lengths)
    result = batches(lengths, budget)
    assert sorted(np.concatenate(result)) == list(range(len(lengths)))
    assert all(len(rows) == 1 or len(rows) * lengths[rows].max() <= budget for rows in result)


def test_tokens():
    assert TOKENS.ids[2].tolist()[0] == 1 and len(TOKENS.ids[2]) == 2  # <bos> and the word
    assert TOKENS.content[3].tolist() == [False] + [True] * 7
    assert TOKENS.digest() != TOKENS.subset([1, 0, *range(2, 8)]).digest()
    assert TOKENS.subset([3]).prompt_ids == ("p3",)


def test_position_0_is_masked_also_without_a_special_token():
    tokenizer = tiny_tokenizer()
    tokenizer.backend_tokenizer.post_processor = None
    tokens = tokenise(tokenizer, ["w3 w4 w5"], ["a"])
    assert tokens.ids[0].tolist() == [3, 4, 5]
    assert tokens.content[0].tolist() == [False, True, True]


def test_two_prompts_with_the_same_tokens_split_differently_have_other_digests():
    flat = np.array([3, 4, 5, 6])
    one = Tokens(("a", "b"), [flat[:1], flat[1:]], [])
    other = Tokens(("a", "b"), [flat[:2], flat[2:]], [])
    assert one.digest() != other.digest()


def test_a_prompt_longer_than_the_model_is_an_error_not_a_cut(tiny_models):
    tokens = tokenise(tiny_tokenizer(), ["w3", "w5 " * POSITIONS], ["short", "long"])
    with pytest.raises(
        CollectionError,
        match=f"prompt long has {POSITIONS + 1} tokens, the model {POSITIONS} positions.*never truncated",
    ):
        collect(tiny_models["gpt2"], tokens, ["resid_post"], ["last_token"], 64)


def test_ids_beyond_the_vocabulary(tiny_models):
    tokens = Tokens(("a",), [np.array([3, VOCABULARY])], [np.array([False, True])])
    with pytest.raises(
        CollectionError, match="prompt a has token id 40, the model's vocabulary ends at 39.*share a tokenizer"
    ):
        collect(tiny_models["llama"], tokens, ["resid_post"], ["last_token"], 64)


def test_unknown_aggregation(tiny_models):
    with pytest.raises(CollectionError, match="unknown aggregation 'max'.*last_token, mean, all_tokens"):
        collect(tiny_models["llama"], TOKENS, ["resid_post"], ["max"], 64)


def test_repeated_id_and_empty_prompt():
    with pytest.raises(CollectionError, match="prompt id a stands twice"):
        tokenise(tiny_tokenizer(), ["w3", "w4"], ["a", "a"])
    with pytest.raises(CollectionError, match="prompt b has no token besides"):
        tokenise(tiny_tokenizer(), ["w3", ""], ["a", "b"])
