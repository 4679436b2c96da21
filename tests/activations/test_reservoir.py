"""Tokens drawn from each prompt, and their activations beside all activations held at once."""

import copy
import gc

import numpy as np
import pytest
import torch
from scipy.stats import chi2

from stages.activations.reservoir import choose, point_names, sample_layers
from stages.activations.tokens import CollectionError, Tokens, tokenise
from stages.models.capture import base_model, capture
from stages.models.sites import SITES
from tests.support.forward_oracle import assert_close, run_out_once
from tests.support.tiny_models import POSITIONS, VOCABULARY, WIDTH, tiny_tokenizer

LENGTHS = (4, 19, 1, 7, 7, 30, 2, 12)
FINAL_NORMS = {"gpt2": "ln_f", "gpt_neox": "final_layer_norm", "gpt_neox_sequential": "final_layer_norm"} | {
    "gemma3": "language_model.norm"
}


def prompts(lengths=LENGTHS, continuations=None):
    generator = np.random.default_rng(0)
    texts = [" ".join(f"w{i}" for i in generator.integers(3, VOCABULARY, size=n)) for n in lengths]
    return tokenise(tiny_tokenizer(), texts, [f"p{i}" for i in range(len(texts))], continuations=continuations)


TOKENS = prompts()


def sinks(tokens):
    """Position 0 of each prompt, which `choose` never takes."""
    return [np.zeros(1, np.int64) for _ in tokens.ids]


def one_long(length, prompt="p"):
    """One prompt of so many tokens, all but the first content: no model is asked."""
    return Tokens((prompt,), [np.full(length, 3)], [np.arange(length) > 0])


def everything(model, ids):
    """(points, length, d) of one prompt alone, all activations held at once."""
    with torch.inference_mode(), capture(model, ["resid_pre", "resid_post"]) as seen:
        final = base_model(model)(input_ids=torch.from_numpy(ids)[None], use_cache=False).last_hidden_state
    embedding = seen["blocks.0.hook_resid_pre"]
    layers = [value for name, value in seen.items() if name.endswith("resid_post")]
    return torch.cat([embedding, *layers, final]).numpy()


@pytest.mark.parametrize("family", SITES)
def test_gathered_are_those_of_all_activations(family, tiny_models):
    model, chosen = tiny_models[family], choose(TOKENS, 5, seed=3)
    found = sample_layers(model, TOKENS, chosen, 64)
    assert found.values.dtype == np.float32 and len(found.values) == len(point_names(3)) == 5
    for i, ids in enumerate(TOKENS.ids):
        own = found.prompt == i
        np.testing.assert_array_equal(found.position[own], chosen[i])
        assert_close(found.values[:, own], everything(model, ids)[:, chosen[i]])


@pytest.mark.parametrize("family", SITES)
def test_the_last_point_is_the_final_norm_of_the_last_layer(family, tiny_models):
    model = tiny_models[family]
    found = sample_layers(model, TOKENS, choose(TOKENS, 5, seed=3), 64)
    norm = base_model(model).get_submodule(FINAL_NORMS.get(family, "norm"))
    with torch.inference_mode():
        assert_close(found.values[-1], norm(torch.from_numpy(found.values[-2])).numpy())


def test_the_first_point_is_the_embedding_of_the_tokens(tiny_models):
    found = sample_layers(tiny_models["llama"], TOKENS, choose(TOKENS, 5, seed=3), 64)
    read = [TOKENS.ids[prompt][position] for prompt, position in zip(found.prompt, found.position, strict=True)]
    embeddings = tiny_models["llama"].get_input_embeddings().weight.detach().numpy()
    np.testing.assert_array_equal(found.values[0], embeddings[read])
    assert point_names(3) == ["embedding", "layer_0", "layer_1", "layer_2", "final_norm"]


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("budget", [1, 50, 200])
def test_batches_change_the_last_digits_only(budget, precision, tiny_models):
    """Within 1e-4 in float32, and a few roundings of bfloat16; rows stand in the order of the prompts."""
    model, chosen = copy.deepcopy(tiny_models["olmo3"]).to(precision), choose(TOKENS, 4, seed=0)
    whole, parts = (sample_layers(model, TOKENS, chosen, tokens) for tokens in (10_000, budget))
    assert (np.diff(parts.prompt) >= 0).all()
    np.testing.assert_array_equal(parts.prompt, whole.prompt)
    np.testing.assert_array_equal(parts.position, whole.position)
    tolerance = 1e-4 if precision == torch.float32 else 8 * torch.finfo(precision).eps
    for one, other in zip(parts.values, whole.values, strict=True):
        assert np.abs(one - other).max() <= tolerance * np.abs(other).max()


def test_the_same_bytes_twice(tiny_models):
    one, other = (sample_layers(tiny_models["olmo3"], TOKENS, choose(TOKENS, 4, 0), 64) for _ in range(2))
    assert one.values.tobytes() == other.values.tobytes()


def test_siblings_share_their_tokens(tiny_models):
    chosen = choose(TOKENS, 4, seed=0)
    one, other = (sample_layers(tiny_models[family], TOKENS, chosen, 64) for family in ("olmo2", "gpt2"))
    np.testing.assert_array_equal(one.prompt, other.prompt)
    np.testing.assert_array_equal(one.position, other.position)
    assert not np.allclose(one.values, other.values)


def test_sinks_are_gathered_beside_content_in_one_pass(tiny_models):
    chosen, first = choose(TOKENS, 4, seed=0), sinks(TOKENS)
    both = sample_layers(
        tiny_models["llama"], TOKENS, [np.union1d(*pair) for pair in zip(first, chosen, strict=True)], 64
    )
    alone, content = both.position == 0, both.position > 0
    assert alone.sum() == len(TOKENS.ids)
    assert_close(both.values[:, content], sample_layers(tiny_models["llama"], TOKENS, chosen, 64).values)
    assert_close(both.values[:, alone], sample_layers(tiny_models["llama"], TOKENS, first, 64).values)


def test_what_follows_a_prompt_is_never_chosen():
    tokens = prompts((3, 5), continuations=["w7 w8 w9 w7 w8", "w9"])
    for positions, content, ids in zip(choose(tokens, 50, seed=0), tokens.content, tokens.ids, strict=True):
        np.testing.assert_array_equal(positions, np.flatnonzero(content))
        assert len(ids) > len(content) > positions.max()


def test_a_short_prompt_gives_all_its_content():
    for positions, content in zip(choose(TOKENS, 7, seed=0), TOKENS.content, strict=True):
        assert len(positions) == min(7, content.sum())
        assert (np.diff(positions) > 0).all() and content[positions].all()
        if content.sum() <= 7:
            np.testing.assert_array_equal(positions, np.flatnonzero(content))


def test_neither_position_0_nor_special_tokens():
    special = Tokens(("a",), [np.arange(8)], [np.isin(np.arange(8), [1, 2, 5, 7])])
    assert set(np.concatenate([choose(special, 2, seed)[0] for seed in range(200)])) == {1, 2, 5, 7}


def test_the_choice_depends_on_the_prompt_and_the_seed_only():
    rows = [5, 1, 3]
    alone, among = choose(TOKENS.subset(rows), 3, seed=8), choose(TOKENS, 3, seed=8)
    for positions, row in zip(alone, rows, strict=True):
        np.testing.assert_array_equal(positions, among[row])
    assert any(not np.array_equal(a, b) for a, b in zip(among, choose(TOKENS, 3, seed=9), strict=True))
    same_length = [choose(one_long(500, prompt), 20, seed=8)[0] for prompt in ("a", "b")]
    assert not np.array_equal(*same_length)


def test_fewer_are_a_subset_of_more():
    few, more = (choose(one_long(200), count, seed=1)[0] for count in (10, 40))
    assert set(few) <= set(more)


def inclusion_p(counts, draws, k):
    """Chi-square p-value of the ``counts`` (n,) of positions drawn k of n without replacement, ``draws`` times."""
    n, expected = len(counts), draws * k / len(counts)
    statistic = ((counts - expected) ** 2).sum() / expected * (n - 1) / (n - k)
    return chi2.sf(statistic, n - 1)


@pytest.mark.parametrize("k", [1, 5, 19])
def test_all_positions_are_as_likely(k):
    """At level 0.001, over 4000 seeds; and over 4000 prompts under one seed."""
    draws, tokens = 4000, one_long(24)
    seeds = np.bincount(np.concatenate([choose(tokens, k, seed)[0] for seed in range(draws)]), minlength=24)
    ids = np.bincount(np.concatenate([choose(one_long(24, f"q{i}"), k, 0)[0] for i in range(draws)]), minlength=24)
    assert seeds[0] == ids[0] == 0
    assert inclusion_p(seeds[1:], draws, k) > 0.001
    assert inclusion_p(ids[1:], draws, k) > 0.001


def replaced(generator, n, k, late):
    """Reservoir by replacement: item i takes the place of one of those held with probability k / (i + 1 - late)."""
    held = list(range(k))
    for i in range(k, n):
        if (place := generator.integers(i + 1 - late)) < k:
            held[place] = i
    return held


def test_the_chi_square_accepts_a_sound_reservoir_and_refuses_one_off_by_one():
    def p(late):
        generator = np.random.default_rng(0)
        drawn = np.concatenate([replaced(generator, 23, 5, late) for _ in range(4000)])
        return inclusion_p(np.bincount(drawn, minlength=23), 4000, 5)

    assert p(late=0) > 0.001 > p(late=1)


def test_the_chi_square_keeps_its_level():
    """Of 400 shuffles 5 % are rejected at 5 % (binomial 99.9 % interval)."""
    generator = np.random.default_rng(0)
    drawn = generator.permuted(np.tile(np.arange(23), (400, 500, 1)), axis=2)[..., :5]  # (repeats, draws, k)
    rejected = [inclusion_p(np.bincount(one.ravel(), minlength=23), 500, 5) < 0.05 for one in drawn]
    assert 0.017 < np.mean(rejected) < 0.09


def test_what_is_kept_does_not_grow_with_the_text(tiny_models):
    short, long = prompts((8,) * 6), prompts((POSITIONS - 1,) * 6)
    kept = [sample_layers(tiny_models["llama"], tokens, choose(tokens, 3, 0), 128).values for tokens in (short, long)]
    assert [values.nbytes for values in kept] == [5 * 6 * 3 * WIDTH * 4] * 2


def whole_streams(model, run):
    """How many residual streams (batch, tokens, d) are held when the last block is done, as ``run`` passes one batch."""
    held = []

    def count(_, __, output):
        shape = output[0].shape if isinstance(output, tuple) else output.shape
        held.append(sum(isinstance(thing, torch.Tensor) and thing.shape == shape for thing in gc.get_objects()))

    handle = base_model(model).layers[-1].register_forward_hook(count)
    try:
        run()
    finally:
        handle.remove()
    return held[0]


def test_no_layer_is_held_whole(tiny_models):
    """As many as without hooks; a capture that keeps everything holds one more for each layer."""
    model, tokens = tiny_models["llama"], prompts((20,) * 4)
    ids = torch.from_numpy(np.stack(tokens.ids))

    def plain():
        with torch.inference_mode():
            base_model(model)(input_ids=ids, use_cache=False)

    def keeping_everything():
        with capture(model, ["resid_post"]):
            plain()

    bare = whole_streams(model, plain)
    assert whole_streams(model, lambda: sample_layers(model, tokens, choose(tokens, 2, 0), 10_000)) == bare
    assert whole_streams(model, keeping_everything) > bare


def test_weights_that_are_not_finite_are_named(tiny_models):
    model = copy.deepcopy(tiny_models["llama"])
    model.model.layers[1].mlp.down_proj.weight.data[0, 0] = float("nan")
    with pytest.raises(CollectionError, match=r"layer_1 of prompt p0 is not finite at position \d+: check the weights"):
        sample_layers(model, TOKENS, choose(TOKENS, 3, 0), 64)


def test_samples_are_the_same_when_memory_runs_out_once(tiny_models, monkeypatch):
    model, chosen = tiny_models["olmo3"], choose(TOKENS, 4, seed=0)
    expected = sample_layers(model, TOKENS, chosen, 10_000)
    passed = run_out_once(monkeypatch, model)
    halved = sample_layers(model, TOKENS, chosen, 10_000)
    assert len(passed) > 1
    np.testing.assert_array_equal(halved.prompt, expected.prompt)
    np.testing.assert_array_equal(halved.position, expected.position)
    for values, whole in zip(halved.values, expected.values, strict=True):
        assert_close(values, whole)


@pytest.mark.parametrize("positions", [[3, 1], [1, 1], [-1, 2], [2, 99]])
def test_positions_outside_the_text_or_out_of_order_are_refused(positions, tiny_models):
    chosen = choose(TOKENS, 3, 0)
    chosen[1] = np.array(positions)
    with pytest.raises(CollectionError, match="prompt p1: positions"):
        sample_layers(tiny_models["llama"], TOKENS, chosen, 64)


def test_other_bad_input_is_refused(tiny_models):
    with pytest.raises(CollectionError, match="0 tokens of each prompt"):
        choose(TOKENS, 0, 0)
    with pytest.raises(CollectionError, match="positions of 2 prompts for 8"):
        sample_layers(tiny_models["llama"], TOKENS, choose(TOKENS, 3, 0)[:2], 64)
    with pytest.raises(CollectionError, match="not all empty"):
        sample_layers(tiny_models["llama"], TOKENS, [np.array([], int)] * 8, 64)
    with pytest.raises(CollectionError, match="positions: shorten"):
        sample_layers(tiny_models["llama"], long := one_long(POSITIONS + 1), choose(long, 3, 0), 64)
