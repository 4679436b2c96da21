"""Shards: complete or absent, found again by their content alone, and merged in the order of the prompts."""

import numpy as np
import pytest
import torch
from test_forward import PROMPTS, TOKENS, naive
from tiny_models import tiny_tokenizer

from stages.activations import shards
from stages.activations.forward import hook_names
from stages.activations.shards import Dataset, Merged, compute, plan
from stages.activations.tokens import token_offsets, tokenise
from stages.models.checkpoint import Checkpoint
from stages.params.collect import Collect

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
    fields = {
        "name": "sft-s0",
        "weight_hash": "aa",
        "prompt_format": "plain",
        "precision": None,
        "architecture": "olmo3",
    }
    known = {field: fields.get(field, "") for field in Checkpoint._fields}
    return Checkpoint(**known | changed)


@pytest.fixture(autouse=True)
def scratch(tmp_path, monkeypatch):
    monkeypatch.setenv("COLLECT_SCRATCH", str(tmp_path / "scratch"))
    monkeypatch.setattr(shards, "SHARD_TOKENS", 30)
    return tmp_path / "scratch"


def planned(**changed):
    return plan(checkpoint(), "float32", "logic", TOKENS, params(**changed), "cpu")


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
    "weights": lambda: plan(checkpoint(weight_hash="bb"), "float32", "logic", TOKENS, params(), "cpu"),
    "precision": lambda: plan(checkpoint(), "bfloat16", "logic", TOKENS, params(), "cpu"),
    "device": lambda: plan(checkpoint(), "float32", "logic", TOKENS, params(), "cuda"),
    "tokens": lambda: plan(
        checkpoint(), "float32", "logic", tokenise(tiny_tokenizer(), PROMPTS[::-1], [f"p{i}" for i in range(8)]), params(), "cpu"
    ),
    "masked tokens": lambda: plan(
        checkpoint(), "float32", "logic", TOKENS._replace(content=[~kept for kept in TOKENS.content]), params(), "cpu"
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
    assert planned(prompts=5, quality=QUALITY | {"usable": 0.5}).folder == planned().folder


def test_edited_code_takes_no_older_shard(monkeypatch, tmp_path):
    before = planned().folder
    (tmp_path / "edited.py").write_text("# another way to run the model\n")
    monkeypatch.setattr(shards.forward, "__file__", str(tmp_path / "edited.py"))
    assert planned().folder != before
