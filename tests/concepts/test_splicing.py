"""What splicing costs, against a loop over rows and tokens."""

import numpy as np
import pytest
import torch

from stages.concepts.interrupted_pass import edited
from stages.concepts.splicing import cross_entropy, recovered
from stages.models.capture import base_model, capture
from tests.support.tiny_models import CONFIGS

SPECIAL = [0, 1, 2]
ROWS = [np.array([1, 7, 9, 2, 11, 4]), np.array([5, 5, 6]), np.array([6, 30, 1, 8, 8, 12, 21]), np.array([4])]


def naive(model, rows=ROWS, layer=None, change=None):
    """Row by row, token by token; ``change`` puts the state of each content token through itself."""
    lost = []
    for row in rows:
        ids = torch.tensor(row)[None]
        kept = [t for t in range(1, len(row)) if row[t] not in SPECIAL]

        def edit(hidden, kept=kept):
            hidden = hidden.clone()
            for t in kept:
                hidden[0, t] = change(hidden[0, t])
            return hidden

        with torch.inference_mode():
            if change is None:
                logits = model(ids).logits[0]
            else:
                with edited(model, layer, edit):
                    logits = model(ids).logits[0]
        lost += [-logits[t].double().log_softmax(0)[row[t + 1]].item() for t in kept if t + 1 < len(row)]
    return sum(lost) / len(lost)


@pytest.mark.parametrize("tokens_per_batch", [1, 14, 200])
@pytest.mark.parametrize("family", CONFIGS)
def test_the_loss_is_that_of_a_loop_over_rows(family, tokens_per_batch, tiny_models):
    model = tiny_models[family]
    assert cross_entropy(model, 1, ROWS, SPECIAL, tokens_per_batch) == pytest.approx(naive(model), rel=1e-4)


@pytest.mark.parametrize("family", CONFIGS)
def test_the_same_state_in_its_place_changes_nothing(family, tiny_models):
    model = tiny_models[family]
    clean = cross_entropy(model, 1, ROWS, SPECIAL, 200)
    assert cross_entropy(model, 1, ROWS, SPECIAL, 200, lambda states: states) == clean


@pytest.mark.parametrize("layer", [0, 1, 2])
@pytest.mark.parametrize("family", ["gpt2", "gpt_neox", "olmo3", "gemma2", "llama"])
def test_a_replaced_state_costs_what_it_costs_in_the_loop(family, layer, tiny_models):
    model = tiny_models[family]
    shift = torch.linspace(-1, 1, 16)

    def change(states):
        return 0.5 * states + shift

    found = cross_entropy(model, layer, ROWS, SPECIAL, 14, change)
    assert found == pytest.approx(naive(model, layer=layer, change=change), rel=1e-4)
    assert found != pytest.approx(cross_entropy(model, layer, ROWS, SPECIAL, 14), rel=1e-3)


def test_only_content_tokens_are_put_through(tiny_models):
    model, seen = tiny_models["gpt2"], []
    cross_entropy(model, 1, ROWS, SPECIAL, 200, lambda states: (seen.append(states), states)[1])
    expected = []
    for row in sorted(ROWS, key=len, reverse=True):  # as batches take them
        with torch.inference_mode(), capture(model, ["resid_post"]) as states:
            base_model(model)(input_ids=torch.tensor(row)[None], use_cache=False)
        state = states["blocks.1.hook_resid_post"][0]
        expected += [state[t] for t in range(1, len(row)) if row[t] not in SPECIAL]
    torch.testing.assert_close(torch.cat(seen), torch.stack(expected), rtol=1e-4, atol=1e-4)


def test_recovered_is_1_of_the_states_themselves_and_0_of_the_ablation(tiny_models):
    model = tiny_models["gpt2"]
    replaced = [None, lambda states: states, lambda states: states.mean(0).expand_as(states)]
    clean, same, ablated = (cross_entropy(model, 1, ROWS, SPECIAL, 200, replace) for replace in replaced)
    assert recovered(clean, same, ablated) == 1
    assert recovered(clean, ablated, ablated) == 0
    assert recovered(2.0, 3.0, 6.0) == pytest.approx(0.75)
    assert recovered(2.0, 7.0, 6.0) < 0  # worse than the ablation


@pytest.mark.parametrize("rows", [[np.array([3])], [np.array([3, 4]), np.array([5, 6])], [np.array([3, 1, 2])], []])
def test_rows_without_a_token_to_count_are_refused(rows, tiny_models):
    with pytest.raises(ValueError, match=f"{len(rows)} rows without two content tokens in succession"):
        cross_entropy(tiny_models["gpt2"], 1, rows, SPECIAL, 200)
