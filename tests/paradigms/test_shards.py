"""Shards: complete or absent, found again by their content alone, and merged in the order of the prompts."""

from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import torch

from stages.activations.params import Collect
from stages.activations.positions import hook_names
from stages.activations.tokens import token_offsets, tokenise
from stages.models.checkpoint import Checkpoint
from stages.paradigms import shards
from stages.paradigms.shards import Dataset, Merged, compute, plan_shards
from stages.shared import scratch as scratch_keys
from stages.shared.code_identity import import_closure
from stages.shared.files import FileError
from tests.support.damage import flip
from tests.support.forward_oracle import PROMPTS, TOKENS, naive
from tests.support.tiny_models import tiny_tokenizer

SITES = ("resid_mid", "resid_post")
QUALITY = {"usable": 0.8, "norm_low": 1e-3, "norm_high": 1e6}


def params(**changed):
    return Collect.model_validate(
        {
            "prompts": 8, "aggregations": ["last_token", "mean", "all_tokens"], "sites": list(SITES),
            "tokens_per_batch": 40, "precision": "float32", "all_tokens_dtype": "float32", "quality": QUALITY,
        } | changed
    )  # fmt: skip


def checkpoint(**changed):
    return Checkpoint("sft-s0", Path("model"), "sft", "local", "aa", "olmo3")._replace(**changed)


@pytest.fixture(autouse=True)
def scratch(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("model").mkdir()
    Path("model/config.json").write_text('{"model_type": "olmo3", "sliding_window": 4096}')
    monkeypatch.setenv("COLLECT_SCRATCH", str(tmp_path / "scratch"))
    monkeypatch.setattr(shards, "SHARD_TOKENS", 30)
    return tmp_path / "scratch"


def planned(**changed):
    return plan_shards(checkpoint(), "float32", "logic", TOKENS, params(**changed), "cpu")


def test_every_prompt_lies_in_one_shard_of_enough_tokens():
    rows = [np.concatenate(shard) for shard in planned().shards]
    assert sorted(np.concatenate(rows)) == list(range(len(PROMPTS)))
    assert len(rows) > 1 and all(TOKENS.lengths[r].sum() >= 30 for r in rows[:-1])


@pytest.mark.parametrize("all_tokens_dtype", ["float32", "bfloat16"])
def test_merged_shards_are_the_naive_passes(all_tokens_dtype, tiny_models):
    this = planned(all_tokens_dtype=all_tokens_dtype)
    for shard in reversed(this.missing()):  # in any order
        compute(tiny_models["olmo3"], this, shard, params(all_tokens_dtype=all_tokens_dtype), 40)
    assert this.missing() == []
    merged, offsets = Merged(this), token_offsets(TOKENS)
    for row, ids in enumerate(TOKENS.ids):
        at = slice(offsets[row], offsets[row + 1])
        for number, (hook, hidden) in enumerate(naive(tiny_models["olmo3"], ids, SITES).items()):
            number = hook_names(SITES, 3).index(hook)
            atol = 1e-5 * np.abs(hidden).max()
            np.testing.assert_allclose(
                merged.read("last_token", number, np.array([row]))[0], hidden[-1], rtol=1e-4, atol=atol
            )
            np.testing.assert_allclose(
                merged.read("mean", number, np.array([row]))[0], hidden[1:].mean(0), rtol=1e-4, atol=atol
            )
            tokens = merged.read("all_tokens", number, at)
            if all_tokens_dtype == "bfloat16":
                assert tokens.dtype == np.uint16
                tokens, rtol = (tokens.astype(np.uint32) << 16).view(np.float32), 2**-8
            else:
                rtol = 1e-4
            np.testing.assert_allclose(tokens, hidden, rtol=rtol, atol=atol)
            np.testing.assert_allclose(
                merged.norms("all_tokens", number)[at], np.linalg.norm(hidden, axis=1), rtol=1e-4
            )
            np.testing.assert_allclose(merged.peaks("all_tokens", number)[at], np.abs(hidden).max(1), rtol=1e-4)


def test_passes_in_bfloat16_are_kept_without_loss(tiny_models):
    model, this = deepcopy(tiny_models["olmo3"]).bfloat16(), planned(all_tokens_dtype="bfloat16")
    for shard in this.missing():
        compute(model, this, shard, params(all_tokens_dtype="bfloat16"), 40)
    merged, ends = Merged(this), token_offsets(TOKENS)[1:] - 1
    for hook in range(6):
        last = merged.read("last_token", hook, slice(None))
        bits = merged.read("all_tokens", hook, ends)
        np.testing.assert_array_equal((bits.astype(np.uint32) << 16).view(np.float32), last)
        np.testing.assert_allclose(
            merged.norms("last_token", hook), np.linalg.norm(last.astype(float), axis=1), rtol=1e-12
        )
        np.testing.assert_array_equal(merged.peaks("last_token", hook), np.abs(last).max(axis=1))


def test_a_dataset_is_read_in_slices(tiny_models):
    this = planned()
    for shard in this.missing():
        compute(tiny_models["olmo3"], this, shard, params(), 40)
    merged, rows = Merged(this), np.array([6, 2, 3])
    dataset = Dataset(merged, "mean", 4, rows)
    assert (dataset.shape, dataset.dtype) == ((3, 16), np.float32)
    np.testing.assert_array_equal(np.concatenate([dataset[0:2], dataset[2:3]]), merged.read("mean", 4, rows))


def test_bfloat16_bits_are_stored_without_loss():
    values = torch.randn(3, 5, 4).bfloat16()
    bits = shards._stored(values, np.dtype(np.uint16))
    assert torch.equal(torch.from_numpy((bits.astype(np.uint32) << 16).view(np.float32)), values.float())


def test_a_shard_that_was_interrupted_is_absent(tiny_models, scratch, monkeypatch):
    this = planned()
    compute(tiny_models["olmo3"], this, 0, params(), 40)
    monkeypatch.setattr(shards.Sink, "put", lambda *_: (_ for _ in ()).throw(OSError("no space left on device")))
    with pytest.raises(OSError, match="no space left"):
        compute(tiny_models["olmo3"], this, 1, params(), 40)
    assert this.missing() == list(range(1, len(this.shards)))
    assert [path.name for path in this.folder.iterdir()] == ["00000"]


OTHER = {
    "weights": lambda: plan_shards(checkpoint(weight_hash="bb"), "float32", "logic", TOKENS, params(), "cpu"),
    "precision": lambda: plan_shards(checkpoint(), "bfloat16", "logic", TOKENS, params(), "cpu"),
    "device": lambda: plan_shards(checkpoint(), "float32", "logic", TOKENS, params(), "cuda"),
    "tokens": lambda: plan_shards(
        checkpoint(), "float32", "logic", tokenise(tiny_tokenizer(), PROMPTS[::-1], [f"p{i}" for i in range(8)]), params(), "cpu"
    ),
    "masked tokens": lambda: plan_shards(
        checkpoint(), "float32", "logic", TOKENS._replace(content=[~kept for kept in TOKENS.content]), params(), "cpu"
    ),
    "what follows the prompts": lambda: plan_shards(
        checkpoint(), "float32", "logic",
        tokenise(tiny_tokenizer(), PROMPTS, [f"p{i}" for i in range(8)], continuations=["w5"] * 8), params(), "cpu",
    ),
    "sites": lambda: planned(sites=["resid_post"]),
    "aggregations": lambda: planned(aggregations=["mean"]),
    "batches": lambda: planned(tokens_per_batch=50),
    "storage": lambda: planned(all_tokens_dtype="bfloat16"),
}  # fmt: skip


@pytest.mark.parametrize("change", OTHER)
def test_whatever_changes_the_values_changes_the_key(change):
    assert OTHER[change]().folder != planned().folder


def test_what_does_not_change_the_values_does_not():
    assert planned(prompts=5, quality=QUALITY | {"usable": 0.5}, reasoning=["long"]).folder == planned().folder


def test_another_configuration_of_the_same_weights_is_another_model():
    before = planned().folder
    Path("model/config.json").write_text('{"model_type": "olmo3", "sliding_window": 4097}')
    assert planned().folder != before


def test_edited_code_takes_no_older_shard(monkeypatch):
    before = planned().folder
    monkeypatch.setattr(scratch_keys, "identity", lambda *modules: "edited")
    assert planned().folder != before


def test_the_code_of_the_key_is_all_that_computes_a_shard(monkeypatch):
    """How models are loaded and run, and what is written of it."""
    named = []
    monkeypatch.setattr(scratch_keys, "identity", lambda *modules: named.extend(modules) or "same")
    planned()
    files = import_closure(*(module.replace(".", "/") + ".py" for module in named))
    rooms = (
        "activations/passes",
        "activations/positions",
        "activations/tokens",
        "paradigms/shards",
        "models/loading",
        "models/capture",
        "models/sites",
    )
    assert {f"stages/{file}.py" for file in rooms} <= set(files)


def test_a_flipped_bit_anywhere_is_refused(tiny_models):
    plan = planned()
    for shard in range(len(plan.shards)):
        compute(tiny_models["olmo3"], plan, shard, params(), 40)
    Merged(plan).read("mean", 0, slice(None))
    path = plan.path(1) / "mean.npy"
    whole = path.read_bytes()
    for bit in np.random.default_rng(0).integers(8 * len(whole), size=60):
        path.write_bytes(flip(whole, bit))
        with pytest.raises(FileError, match=r"mean.npy is no sound shard .*remove .*00001, and it is computed again"):
            Merged(plan).read("mean", 0, slice(None))
