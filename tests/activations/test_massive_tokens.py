"""Massive tokens are left out by rule wherever states are summed, streamed or spliced, and counted in beside it."""

from copy import deepcopy
from itertools import islice

import numpy as np
import pytest
import torch

from stages.activations.massive_tokens import massive_in_texts, massive_tokens
from stages.activations.moments import gather_moments, moment_keys
from stages.activations.passes import FINAL_NORM
from stages.activations.sequences import Sequences
from stages.activations.token_stream import content_states, stream
from stages.concepts.splicing import cross_entropy
from stages.geometry.norms import is_massive, massive_limit, non_massive_rows
from stages.models.capture import base_model, capture
from stages.trace.spectra import MASSIVE, spectral_result

MASSIVE_ID, LAYER, SPECIAL = 7, 1, [0, 1, 2]


@pytest.fixture(params=["llama", "gpt2", "olmo3"])
def model(request, tiny_models):
    """A model in which one token is massive at every layer."""
    model = deepcopy(tiny_models[request.param])
    with torch.no_grad():
        model.get_input_embeddings().weight[MASSIVE_ID] *= 1000
    return model


def texts(count=16, length=20, seed=0):
    """Sequences with the massive token once in some, never within their first place."""
    generator = np.random.default_rng(seed)
    ids = generator.integers(8, 40, (count, length))
    rows = np.arange(0, count, 2)
    ids[rows, generator.integers(1, length, len(rows))] = MASSIVE_ID
    ids[0] = np.where(ids[0] == MASSIVE_ID, 9, ids[0])
    ids[0, -1] = MASSIVE_ID  # a last token
    return Sequences(ids, np.broadcast_to(np.arange(length) > 0, ids.shape))


def states(model, ids):
    with torch.inference_mode(), capture(model, ["resid_post"]) as seen:
        final = base_model(model)(input_ids=torch.from_numpy(ids), use_cache=False).last_hidden_state
    found = {("resid_post", layer): value.double().numpy() for layer, value in enumerate(seen.values())}
    return found | {(FINAL_NORM, len(seen) - 1): final.double().numpy()}


@pytest.mark.parametrize(
    "values",
    [[1, 2, 3, 1, 2, 500], [[1, 1, 1, 900, 2], [5, 5, 60, 5, 5]], [0, 0, 0, 1e-30], [1, np.inf, 1, np.nan, 1]],
    ids=str,
)
def test_a_token_is_massive_above_ten_medians_and_what_is_not_finite_is_none(values):
    norms = np.array(values, float)
    for row in norms.reshape(-1, norms.shape[-1]):
        slow = [np.isfinite(x) and x > 10 * np.median(row[~np.isnan(row)]) for x in row]
        assert is_massive(row, massive_limit(row)).tolist() == slow
        hidden = torch.tensor(row)[:, None] * torch.ones(1, 4) / 2  # norms are these
        assert massive_tokens(hidden, float(massive_limit(row))).tolist() == slow
    if np.isfinite(norms).all():
        assert (non_massive_rows(norms[..., None]) == ~is_massive(norms, massive_limit(norms)[..., None])).all()


def test_a_text_is_judged_by_itself_whatever_is_in_the_batch(model):
    sequences = texts()
    hidden = torch.from_numpy(states(model, sequences.ids)["resid_post", LAYER])
    together = massive_in_texts(hidden, sequences.content)
    apart = [massive_in_texts(hidden[i : i + 1], sequences.content[i : i + 1])[0] for i in range(len(hidden))]
    np.testing.assert_array_equal(together, apart)
    np.testing.assert_array_equal(together, sequences.ids == MASSIVE_ID)


@pytest.mark.parametrize("budget", [40, 10**6])
def test_traced_sums_have_massive_tokens_in_all_positions_alone(model, budget):
    sequences = texts()
    in_blocks = [place for place in moment_keys(3) if place.level != "all_positions"]
    found = gather_moments(model, sequences, 4, budget, in_blocks)
    everything = states(model, sequences.ids)
    for place, sums in found.items():
        hidden = everything[place.site, place.layer]
        # after the final norm no token is massive
        massive = (sequences.ids == MASSIVE_ID) & (place.site != FINAL_NORM)
        last = np.arange(sequences.ids.shape[1]) == sequences.ids.shape[1] - 1
        chosen = {
            "token": sequences.content & ~massive,
            "all_positions": np.ones_like(massive),
            "last_token": last & ~massive,
        }[place.level]
        rows = hidden[chosen]
        assert sums.n.sum() == len(rows)
        expected = rows.T @ rows
        np.testing.assert_allclose(sums.gram.sum(0), expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


def test_headline_spectra_are_as_without_the_massive_tokens(model):
    """And the raw ones beside them show what was left out."""
    from stages.shared.checks import DecayRanks

    found = {}
    for name, ids in (("massive", texts().ids), ("plain", np.where(texts().ids == MASSIVE_ID, 9, texts().ids))):
        sums = gather_moments(model, Sequences(ids, texts().content), 4, 400, [])
        for place in (("resid_post", 0, "token"), ("resid_post", 0, "all_positions")):
            result = spectral_result(sums[place], DecayRanks(first=0.08, last=0.5), [0, 0.5, 1], 0.95)
            found[name, place[2]] = result.records[0]["value"]
    assert found["massive", "token"] == pytest.approx(found["plain", "token"], rel=0.2)
    assert found["massive", "all_positions"] < 0.6 * found["plain", "all_positions"]


def test_last_tokens_that_are_all_massive_are_missing_with_the_reason(model):
    from stages.shared.checks import DecayRanks

    sequences = texts()
    ids = np.where(sequences.ids == MASSIVE_ID, 9, sequences.ids)
    for count, reasons in ((len(ids), {MASSIVE}), (4, {""})):  # all of them; those of the first block
        ids[:count, -1] = MASSIVE_ID
        ids[count:, -1] = 11
        sums = gather_moments(model, Sequences(ids, sequences.content), 4, 100, moment_keys(3))
        sums = sums["resid_post", 1, "last_token"]
        assert sums.n[0] == 0 and sums.n.sum() == len(ids) - count
        records = spectral_result(sums, DecayRanks(first=0.08, last=0.5), [0, 0.5, 1], 0.95).records
        assert {row["missing"] for row in records[:3]} == reasons
        assert all(np.isnan(row["standard_error"]) for row in records)


def test_a_stream_is_as_without_the_massive_tokens_and_as_long(model):
    rows = list(texts(32).ids)
    limit = float(massive_limit(content_states(model, LAYER, rows, SPECIAL, 400).norm(dim=-1).numpy()))
    portions = list(islice(stream(model, LAYER, rows, SPECIAL, 400, 100, 0, 0, limit), 6))
    assert all(len(portion) == 100 and portion.norm(dim=-1).max() <= limit for portion in portions)
    unmasked = list(islice(stream(model, LAYER, rows, SPECIAL, 400, 100, 0), 6))
    assert max(portion.norm(dim=-1).max() for portion in unmasked) > limit
    resumed = next(stream(model, LAYER, rows, SPECIAL, 400, 100, 0, 4, limit))
    assert torch.equal(resumed, portions[4])
    with pytest.raises(ValueError, match="tokens of portion 0 have norms above 0"):
        next(stream(model, LAYER, rows, SPECIAL, 400, 100, 0, 0, 0.0))


def test_massive_tokens_keep_their_states_when_others_are_replaced(model):
    rows, seen = list(texts().ids), []
    limit = float(massive_limit(content_states(model, LAYER, rows, SPECIAL, 400).norm(dim=-1).numpy()))
    found = cross_entropy(model, LAYER, rows, SPECIAL, 100, lambda x: (seen.append(x), x)[1], limit)
    assert torch.cat(seen).norm(dim=-1).max() <= limit
    nats = []
    for row in rows:
        with torch.inference_mode():
            log_p = model(torch.tensor(row)[None]).logits[0].double().log_softmax(-1)
        nats += [-log_p[t, row[t + 1]].item() for t in range(1, len(row) - 1) if row[t] != MASSIVE_ID]
    assert found == pytest.approx(np.mean(nats), rel=1e-4)
    assert found == cross_entropy(model, LAYER, rows, SPECIAL, 100, None, limit)
