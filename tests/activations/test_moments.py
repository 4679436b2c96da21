"""Streamed sums over tokens beside the covariance of all activations held at once."""

import numpy as np
import pytest
import torch

from stages.activations.moments import MomentKey, _about_mean, _moments, gather_moments, moment_keys
from stages.activations.passes import FINAL_NORM
from stages.activations.sequences import Sequences
from stages.activations.tokens import CollectionError
from stages.geometry.blocks import spectrum_from_sums, total_sums
from stages.models.capture import base_model, capture
from tests.support.forward_oracle import run_out_once


def some(count=16, length=12, seed=0):
    ids = np.random.default_rng(seed).integers(3, 40, (count, length))
    content = np.random.default_rng(1).random((count, length)) < 0.8
    content[:, 0] = False
    return Sequences(ids, content)


def activations(model, ids):
    """All of them at once: (site, layer) -> (count, length, d)."""
    with torch.inference_mode(), capture(model, ["resid_post"]) as seen:
        final = base_model(model)(input_ids=torch.from_numpy(ids), use_cache=False).last_hidden_state
    found = {("resid_post", layer): value for layer, value in enumerate(seen.values())}
    return found | {(FINAL_NORM, len(seen) - 1): final}


@pytest.mark.parametrize("budget", [24, 36, 10**6])  # parts of a block, across blocks, all at once
@pytest.mark.parametrize("family", ["olmo3", "gpt2", "gpt_neox", "gemma2"])
def test_sums_are_those_of_all_activations(tiny_models, family, budget):
    model, sequences = tiny_models[family], some()
    everything = activations(model, sequences.ids)
    found = gather_moments(
        model, sequences, 4, budget, [place for place in moment_keys(3) if place.level != "all_positions"]
    )
    assert list(found) == moment_keys(3)
    for place, sums in found.items():
        hidden = everything[place.site, place.layer].numpy().astype(np.float64)  # (count, length, d)
        count = len(sums.n)
        assert count == (1 if place.level == "all_positions" else 4)
        for block in range(count):
            part = slice(block * 16 // count, (block + 1) * 16 // count)
            rows = {
                "token": hidden[part][sequences.content[part]],
                "all_positions": hidden[part].reshape(-1, hidden.shape[-1]),
                "last_token": hidden[part][:, -1],
            }[place.level]
            assert sums.n[block] == len(rows)
            np.testing.assert_allclose(sums.total[block], rows.sum(0), rtol=1e-5, atol=1e-4)
            np.testing.assert_allclose(sums.gram[block], rows.T @ rows, rtol=1e-5, atol=1e-3)


def test_blocks_that_are_not_kept_apart_add_up(tiny_models):
    model, sequences = tiny_models["llama"], some()
    apart = gather_moments(
        model, sequences, 4, 100, [MomentKey(FINAL_NORM, 2, "token"), MomentKey("resid_post", 0, "last_token")]
    )
    together = gather_moments(model, sequences, 4, 100, [MomentKey(FINAL_NORM, 2, "token")])
    assert {len(sums.n) for place, sums in together.items() if place != MomentKey(FINAL_NORM, 2, "token")} == {1}
    for place in moment_keys(3):
        np.testing.assert_allclose(total_sums(apart[place]).gram, total_sums(together[place]).gram, rtol=1e-12)


def test_final_norm_is_not_the_raw_residual(tiny_models):
    found = gather_moments(tiny_models["llama"], some(), 4, 100, [])
    raw, normed = found[MomentKey("resid_post", 2, "token")], found[MomentKey(FINAL_NORM, 2, "token")]
    assert not np.allclose(raw.gram, normed.gram, rtol=0.1)


def test_batches_change_the_last_digits_only(tiny_models):
    model, sequences = tiny_models["olmo3"], some()
    one, other = (gather_moments(model, sequences, 4, budget, []) for budget in (12, 1000))
    for place in moment_keys(3):
        np.testing.assert_allclose(one[place].gram, other[place].gram, rtol=1e-4, atol=1e-4)


def test_a_large_mean_costs_no_digits_of_the_small_directions():
    """Naive float32 sums of squares lose them."""
    generator = torch.Generator().manual_seed(0)
    spread = torch.tensor([1.0, 0.1, 0.01])
    rows = torch.randn(4000, 3, generator=generator) * spread + torch.tensor([300.0, -200.0, 100.0])
    exact = rows.double() - rows.double().mean(0)
    wanted = torch.linalg.eigvalsh(exact.T @ exact).flip(0).sqrt().numpy()
    products, parts = zip(*(_about_mean(part) for part in rows.split(500)), strict=True)
    found = spectrum_from_sums(_moments(sum(product.double() for product in products), parts), centred=True)
    np.testing.assert_allclose(found.s, wanted, rtol=1e-4)
    naive = rows.T @ rows - torch.outer(rows.sum(0), rows.sum(0)) / len(rows)
    assert abs(torch.linalg.eigvalsh(naive)[0].clamp(min=0).sqrt() / wanted[-1] - 1) > 0.1


def test_no_activations_are_kept(tiny_models):
    """What is left is d x d, whatever the number of tokens."""
    found = gather_moments(tiny_models["llama"], some(count=8, length=60), 2, 10**6, [])
    assert {sums.gram.shape for sums in found.values()} == {(1, 16, 16)}


def test_blocks_must_divide_the_sequences(tiny_models):
    with pytest.raises(CollectionError, match="16 sequences in 5 blocks"):
        gather_moments(tiny_models["llama"], some(), 5, 100, [])


def test_weights_that_are_not_finite_are_named(tiny_models):
    import copy

    model = copy.deepcopy(tiny_models["llama"])
    model.model.layers[1].mlp.down_proj.weight.data[0, 0] = float("nan")
    with pytest.raises(CollectionError, match="resid_post of layer 1 is not finite"):
        gather_moments(model, some(), 2, 100, [])


@pytest.mark.parametrize(
    ("length", "largest", "message"),
    [
        (65, 39, "sequence 0 has 65 tokens, the model 64 positions: .*lower trace.length"),
        (12, 40, "sequence 0 has token id 40, the model's vocabulary ends at 39: .*correct the run's tokenizer"),
    ],
)
def test_sequences_must_fit_the_model(tiny_models, length, largest, message):
    sequences = some(length=length)
    sequences.ids[0, 3] = largest
    with pytest.raises(CollectionError, match=message):
        gather_moments(tiny_models["llama"], sequences, 4, 100, [])


def test_moments_are_the_same_when_memory_runs_out_once(tiny_models, monkeypatch):
    """Memory runs out in the last block, when earlier ones are already summed: nothing of that batch counts twice."""
    model, sequences = tiny_models["olmo3"], some()
    in_blocks = [key for key in moment_keys(3) if key.level != "all_positions"]
    expected = gather_moments(model, sequences, 4, 100, in_blocks)
    passed = run_out_once(monkeypatch, model)
    halved = gather_moments(model, sequences, 4, 100, in_blocks)
    assert sum(rows for rows, *_ in passed) == 16 and max(rows for rows, *_ in passed) == 4  # 8 sequences before
    for key in moment_keys(3):
        np.testing.assert_array_equal(halved[key].n, expected[key].n)
        np.testing.assert_allclose(halved[key].total, expected[key].total, rtol=1e-5, atol=1e-4)
        np.testing.assert_allclose(halved[key].gram, expected[key].gram, rtol=1e-4, atol=1e-4)
