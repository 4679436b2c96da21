"""The stream of states: what a portion holds, that it is mixed, and that a resumed stream gives the same portions."""

from itertools import islice

import numpy as np
import pytest
import torch

from stages.activations.token_stream import content_states, end_states, portion_seed, stream
from stages.models.capture import base_model, blocks_of, capture
from tests.support.forward_oracle import run_out_once
from tests.support.tiny_models import LAYERS, WIDTH

FAMILIES = ["gpt2", "gpt_neox", "olmo3", "gemma2", "llama"]
SPECIAL = [0, 1, 2]
ROWS = [np.array([1, 7, 2, 11, 4]), np.array([5, 5]), np.array([6, 30, 1, 8, 8, 12, 21])]
CONTENT = [[1, 3, 4], [1], [1, 3, 4, 5, 6]]
"""Places kept of each row: not the first, not special tokens."""


def full(model, row, layer):
    """(tokens, d) of one row alone."""
    with torch.inference_mode(), capture(model, ["resid_post"]) as seen:
        final = base_model(model)(input_ids=torch.tensor(row)[None], use_cache=False).last_hidden_state
    return (final if layer is None else seen[f"blocks.{layer}.hook_resid_post"])[0].float()


def documents(count=12, seed=0):
    """Of 4 to 9 tokens, no two alike."""
    generator = np.random.default_rng(seed)
    return [generator.integers(3, 40, generator.integers(4, 10)) for _ in range(count)]


def portions(model, documents, start=0, count=3, buffer=20, seed=0, layer=1):
    return list(islice(stream(model, layer, documents, SPECIAL, 64, buffer, seed, start), count))


def places(portion, pool):
    """Row of ``pool`` next to each row of ``portion``, which must be equal to it up to rounding."""
    distance = torch.cdist(portion.double(), pool.double(), compute_mode="donot_use_mm_for_euclid_dist")
    assert distance.min(dim=1).values.max() < 1e-3
    return distance.argmin(dim=1)


@pytest.mark.parametrize("layer", [*range(LAYERS), None])
@pytest.mark.parametrize("family", FAMILIES)
def test_states_are_those_of_a_whole_pass(family, layer, tiny_models):
    model, row = tiny_models[family], ROWS[2]
    found = content_states(model, layer, [row], [], 64)
    torch.testing.assert_close(found, full(model, row, layer)[1:], rtol=0, atol=0)


@pytest.mark.parametrize("layer", [1, None])
def test_states_are_the_same_when_memory_runs_out_once(layer, tiny_models, monkeypatch):
    model, text = tiny_models["olmo3"], documents()
    expected = content_states(model, layer, text, SPECIAL, 1000), end_states(model, layer, text, 1000)
    for states, read in zip(expected, (content_states, end_states), strict=True):
        options = [SPECIAL, 1000] if read is content_states else [1000]
        with monkeypatch.context() as patch:
            passed = run_out_once(patch, model, -1 if layer is None else layer)
            halved = read(model, layer, text, *options)
        assert len(passed) > 1
        torch.testing.assert_close(halved, states, rtol=1e-4, atol=1e-4)


def test_portions_are_the_same_when_memory_runs_out_once(tiny_models, monkeypatch):
    model, text = tiny_models["olmo3"], documents()
    expected = portions(model, text)
    passed = run_out_once(monkeypatch, model, 1)
    for portion, whole in zip(portions(model, text), expected, strict=True):
        torch.testing.assert_close(portion, whole, rtol=1e-4, atol=1e-4)
    assert len(passed) > 3


@pytest.mark.parametrize("tokens_per_batch", [1, 14, 100])
@pytest.mark.parametrize("layer", [1, None])
def test_content_states_keep_the_order_of_rows_and_leave_out_the_first_and_special_tokens(
    layer, tokens_per_batch, tiny_models
):
    model = tiny_models["gpt2"]
    expected = torch.cat([full(model, row, layer)[kept] for row, kept in zip(ROWS, CONTENT, strict=True)])
    found = content_states(model, layer, ROWS, SPECIAL, tokens_per_batch)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    assert len(content_states(model, layer, ROWS, [], tokens_per_batch)) == 4 + 1 + 6


@pytest.mark.parametrize("tokens_per_batch", [1, 14, 100])
def test_end_states_are_those_of_the_last_tokens(tokens_per_batch, tiny_models):
    model = tiny_models["gpt2"]
    expected = torch.stack([full(model, row, 1)[-1] for row in ROWS])
    torch.testing.assert_close(end_states(model, 1, ROWS, tokens_per_batch), expected, rtol=1e-4, atol=1e-4)


def test_a_portion_is_the_same_wherever_the_stream_began(tiny_models):
    model, text = tiny_models["gpt2"], documents()
    through = portions(model, text, count=6)
    for start in (1, 2, 5):
        for found, expected in zip(portions(model, text, start, count=6 - start), through[start:], strict=True):
            assert torch.equal(found, expected)
    assert all(portion.shape == (20, WIDTH) for portion in through)


def test_portions_skipped_on_resuming_are_not_computed(tiny_models):
    model, ran = tiny_models["gpt2"], []
    handle = blocks_of(model, "gpt2")[0].register_forward_pre_hook(lambda *_: ran.append(0))
    portions(model, documents(), start=0, count=1)
    once = len(ran)
    portions(model, documents(), start=50, count=1)
    handle.remove()
    assert once > 0 and len(ran) <= 3 * once


def test_portions_are_mixed_and_differ_by_number_and_seed(tiny_models):
    model, text = tiny_models["gpt2"], documents()
    pool = content_states(model, 1, text, SPECIAL, 64)
    document = np.repeat(np.arange(len(text)), [len(row) - 1 for row in text])
    first, second = (document[places(portion, pool)] for portion in portions(model, text, count=2))
    for found in (first, second):
        changes = int((np.diff(found) != 0).sum())
        assert len(set(found)) > 2 and changes > len(set(found))  # in document order: one change a document
    assert not np.array_equal(first, second)
    other = portions(model, text, count=1, seed=1)[0]
    assert not torch.equal(other, portions(model, text, count=1)[0])
    assert (
        portion_seed(0, 1) == portion_seed(0, 1) and len({portion_seed(s, n) for s in range(5) for n in range(5)}) == 25
    )


def test_a_pass_holds_every_token_once_and_the_next_has_another_order(tiny_models):
    """Documents of one length, so that a portion is a whole number of them and nothing is dropped."""
    model = tiny_models["gpt2"]
    text = [np.random.default_rng(i).integers(3, 40, 6) for i in range(8)]
    pool = content_states(model, 1, text, SPECIAL, 64)
    found = [places(portion, pool).numpy() for portion in portions(model, text, count=8, buffer=10)]
    passes = [np.concatenate(found[:4]), np.concatenate(found[4:])]
    assert all(sorted(rows) == list(range(40)) for rows in passes)
    orders = [[tuple(sorted(set(part // 5))) for part in found[i : i + 4]] for i in (0, 4)]
    assert all(len(pair) == 2 for order in orders for pair in order)  # whole documents
    assert orders[0] != orders[1]


def test_only_the_given_documents_are_read(tiny_models):
    model, text = tiny_models["gpt2"], documents()
    pool = content_states(model, 1, text[:5], SPECIAL, 64)
    for portion in portions(model, text[:5], count=4):
        places(portion, pool)
    with pytest.raises(AssertionError):
        places(portions(model, text[5:], count=1)[0], pool)


def test_a_buffer_larger_than_the_text_takes_it_again(tiny_models):
    text = documents(2)
    assert portions(tiny_models["gpt2"], text, count=1, buffer=50)[0].shape == (50, WIDTH)


@pytest.mark.parametrize("text", [[np.array([7]), np.array([9])], [np.array([5, 1, 2, 0])], []])
def test_text_without_a_content_token_is_refused(text, tiny_models):
    with pytest.raises(ValueError, match=f"{len(text)} documents without a content token: expected text"):
        next(stream(tiny_models["gpt2"], 1, text, SPECIAL, 64, 10, 0))
