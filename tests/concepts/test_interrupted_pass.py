"""Interventions in the middle, in every family: the short way round is the long one."""

import numpy as np
import pytest
import torch

from stages.activations.token_stream import content_states, end_states, stream
from stages.concepts.head import head_of
from stages.concepts.interrupted_pass import edited, last_logits, run_prefix
from stages.concepts.splicing import cross_entropy, recovered
from stages.models.capture import base_model, capture
from stages.models.names import hook_name
from tests.support.tiny_models import CONFIGS, tiny_model

ROWS = [np.array(ids) for ids in ([1, 5, 9, 4], [1, 7, 3], [1, 8, 30, 12, 6, 10])]
LAYER = 1


@pytest.fixture(params=CONFIGS, scope="module")
def model(request):
    return tiny_model(request.param)


def whole(model, row, delta=None) -> torch.Tensor:
    """Logits after a row by a pass of its own through all blocks."""

    def add(hidden):
        hidden = hidden.clone()
        hidden[:, -1] += 0 if delta is None else delta
        return hidden

    with torch.inference_mode(), edited(model, LAYER, add):
        return model(input_ids=torch.tensor(row)[None], use_cache=False).logits[0, -1].float()


def test_later_blocks_alone_give_what_all_blocks_give(model):
    prefix = run_prefix(model, ROWS, LAYER)
    delta = torch.randn(len(ROWS), prefix.hidden.shape[-1], generator=torch.Generator().manual_seed(0))
    for given in (None, delta):
        found = last_logits(model, prefix, given)
        slow = torch.stack([whole(model, row, None if given is None else given[i]) for i, row in enumerate(ROWS)])
        torch.testing.assert_close(found, slow, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(last_logits(model, prefix, delta), last_logits(model, prefix), atol=1e-3)
    torch.testing.assert_close(last_logits(model, prefix, 0 * delta), last_logits(model, prefix))


def test_the_states_at_the_ends_are_those_that_hooks_capture(model):
    prefix = run_prefix(model, ROWS, LAYER)
    for i, row in enumerate(ROWS):
        with torch.inference_mode(), capture(model, ["resid_post"]) as seen:
            base_model(model)(input_ids=torch.tensor(row)[None], use_cache=False)
        torch.testing.assert_close(
            prefix.ends[i], seen[hook_name("resid_post", LAYER)][0, -1].float(), rtol=1e-4, atol=1e-5
        )
    torch.testing.assert_close(end_states(model, LAYER, ROWS, 100), prefix.ends, rtol=1e-4, atol=1e-5)


def test_the_model_is_as_before_after_an_error(model):
    before = whole(model, ROWS[0])
    prefix = run_prefix(model, ROWS, LAYER)
    with pytest.raises(RuntimeError):
        last_logits(model, prefix, torch.zeros(1, 3))
    with pytest.raises(ZeroDivisionError), edited(model, LAYER, lambda hidden: 1 / 0):
        base_model(model)(input_ids=torch.tensor(ROWS[0])[None])
    torch.testing.assert_close(whole(model, ROWS[0]), before)


def test_final_states_make_the_logits(model):
    final = end_states(model, None, ROWS, 100)
    slow = torch.stack([whole(model, row) for row in ROWS])
    torch.testing.assert_close(head_of(model).logits(final), slow, rtol=1e-4, atol=1e-4)


def test_content_states_leave_out_the_sink_and_special_tokens(model):
    rows = [np.array([1, 5, 2, 9]), np.array([1, 7])]
    found = content_states(model, LAYER, rows, [0, 1, 2], 100)
    slow = [run_prefix(model, [row], LAYER).hidden[0].float() for row in rows]
    torch.testing.assert_close(found, torch.stack([slow[0][1], slow[0][3], slow[1][1]]), rtol=1e-4, atol=1e-5)


def test_the_loss_is_that_of_each_row_alone_and_replacing_by_itself_changes_nothing(model):
    lost = []
    for row in ROWS:
        logits = model(input_ids=torch.tensor(row)[None]).logits[0, 1:-1].float()
        lost += torch.nn.functional.cross_entropy(logits, torch.tensor(row[2:]), reduction="none").tolist()
    for replace in (None, lambda states: states):
        found = cross_entropy(model, LAYER, ROWS, [0, 1, 2], 100, replace)
        assert found == pytest.approx(np.mean(lost), rel=1e-4)
    assert cross_entropy(model, LAYER, ROWS, [0, 1, 2], 100, torch.zeros_like) != pytest.approx(np.mean(lost), rel=1e-3)


def test_what_is_recovered_is_one_for_the_states_and_nothing_for_the_ablation():
    assert recovered(2.0, 2.0, 5.0) == 1 and recovered(2.0, 5.0, 5.0) == 0 and recovered(2.0, 3.5, 5.0) == 0.5


@pytest.fixture(scope="module")
def llama():
    return tiny_model("llama")


def test_rows_without_two_tokens_in_succession_have_no_loss(llama):
    with pytest.raises(ValueError, match="expected text"):
        cross_entropy(llama, LAYER, [np.array([1, 5])], [0, 1, 2], 100)


TEXT = [np.array([1, *range(3 + i, 9 + i)]) for i in range(20)]


def portions(model, seed=0, start=0, count=4, buffer=18):
    source = stream(model, LAYER, TEXT, [0, 1, 2], 200, buffer, seed, start)
    return [next(source) for _ in range(count)]


def test_a_stream_goes_on_where_it_was_cut_off(llama):
    all_of_them = portions(llama, count=9)
    torch.testing.assert_close(portions(llama, start=6, count=3), all_of_them[6:], rtol=0, atol=0)
    assert all(part.shape == (18, llama.config.hidden_size) for part in all_of_them)


def test_a_portion_is_of_whole_documents_in_mixed_order(llama):
    known = torch.cat([run_prefix(llama, [row], LAYER).hidden[0, 1:].float() for row in TEXT])
    first = portions(llama, count=1)[0]
    distance = (first[:, None] - known).norm(dim=-1)
    place = distance.argmin(dim=1)
    assert distance.min(dim=1).values.max() < 1e-3
    assert len(set((place // 6).tolist())) == 3 and sorted(place.tolist()) != place.tolist()


def test_seeds_and_passes_over_the_text_have_orders_of_their_own(llama):
    one, other = portions(llama, 0), portions(llama, 1)
    assert not torch.allclose(one[0], other[0])
    many = portions(llama, count=14)  # two passes of 20 documents
    assert not any(torch.allclose(many[0], later) for later in many[7:])


def test_a_text_of_special_tokens_has_no_stream(llama):
    with pytest.raises(ValueError, match="without a content token"):
        next(stream(llama, LAYER, [np.array([1, 2])], [0, 1, 2], 100, 10, 0))
