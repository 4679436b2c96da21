"""Loading: every family, explicit precision, and every way a checkpoint can be bad."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from stages.models.capture import self_test
from stages.models.checkpoint import ModelError, find_folder, open_checkpoint, weight_files, weight_hash
from stages.models.loading import device, load_model, load_tokenizer
from stages.models.sites import SITES

CPU = torch.device("cpu")


@pytest.fixture
def folder(tiny_folders, tmp_path):
    return shutil.copytree(tiny_folders["olmo3"], tmp_path / "olmo3")


@pytest.mark.parametrize("family", SITES)
def test_every_family_loads_and_keeps_its_weights(family, tiny_folders, tiny_models):
    model = load_model(tiny_folders[family], "float32", CPU)
    self_test(model)
    assert not model.training
    for name, value in tiny_models[family].state_dict().items():
        torch.testing.assert_close(model.state_dict()[name], value, rtol=0, atol=0)


def test_the_precision_is_the_one_asked_for_not_the_stored_one(folder):
    assert load_model(folder, "bfloat16", CPU).dtype == torch.bfloat16
    assert load_model(folder, "float32", CPU).dtype == torch.float32
    assert load_model(folder, "float32", CPU).config._attn_implementation == "eager"


def test_float16_is_refused(folder):
    with pytest.raises(ModelError, match="dtype 'float16': expected one of float32, bfloat16"):
        load_model(folder, "float16", CPU)


def test_the_device_comes_from_the_environment(monkeypatch):
    monkeypatch.setenv("DEVICE", "meta")
    assert device().type == "meta"
    monkeypatch.setenv("DEVICE", "gpu")
    with pytest.raises(ModelError, match="DEVICE is 'gpu', which torch cannot use here: set it to cpu or cuda"):
        device()
    monkeypatch.delenv("DEVICE")
    assert device().type == ("cuda" if torch.cuda.is_available() else "cpu")


def test_missing_weight_file(folder):
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="has no weights: expected model.safetensors"):
        load_model(folder, "float32", CPU)


def test_pickled_weights_are_refused(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match="found pytorch_model.bin: pickled weights can run code and are refused"):
        load_model(folder, "float32", CPU)


def test_a_missing_tensor_is_not_left_random(folder):
    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match="1 weights are missing.*model.layers.1.mlp.up_proj.weight"):
        load_model(folder, "float32", CPU)


def test_a_truncated_weight_file(folder):
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelError, match="olmo3 cannot be loaded"):
        load_model(folder, "float32", CPU)


def test_code_of_a_repository_is_never_run(folder, tmp_path):
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "evil", "auto_map": {"AutoConfig": "evil.Config", "AutoModelForCausalLM": "evil.Model"}}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_model(folder, "float32", CPU)
    assert not (tmp_path / "ran").exists()


def test_missing_tokenizer(folder):
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()
    with pytest.raises(ModelError, match="no usable tokenizer"):
        load_tokenizer(folder)


@pytest.mark.parametrize(
    ("name", "stage"), [("rl_zero-s0", "dvc repro rl_zero`"), ("olmo3-7b", "dvc repro fetch@olmo3-7b`")]
)
def test_a_missing_model_names_the_stage_that_makes_it(name, stage, tmp_path):
    with pytest.raises(ModelError, match=stage):
        open_checkpoint(name, tmp_path)
    with pytest.raises(ModelError, match=stage):
        find_folder(name, tmp_path)


@pytest.mark.parametrize(
    ("name", "paradigm"),
    [("rl_zero-s0", "rl_zero"), ("sft_matched-s12", "sft_matched"), ("mine", "other"), ("my-sft", "other")],
)
def test_an_organism_is_its_own_checkpoint(name, paradigm, folder):
    folder.rename(folder.parent / name)
    checkpoint = open_checkpoint(name, folder.parent)
    assert checkpoint.paradigm == paradigm
    assert checkpoint.architecture == "olmo3"
    assert checkpoint.resolved_revision == "local"
    assert checkpoint.weight_hash == weight_hash(folder.parent / name)


def test_the_weight_hash_reads_the_shards_of_the_index_only(folder):
    before = weight_hash(folder)
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(weights)
    shards = {"a.safetensors": names[:5], "b.safetensors": names[5:]}
    for shard, held in shards.items():
        save_file({name: weights[name] for name in held}, folder / shard, metadata={"format": "pt"})
    index = {"metadata": {}, "weight_map": {name: shard for shard, held in shards.items() for name in held}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "stray.safetensors").write_bytes(b"another set")
    assert [path.name for path in weight_files(folder)] == ["a.safetensors", "b.safetensors"]
    assert weight_hash(folder) != before
    self_test(load_model(folder, "float32", CPU))
    (folder / "b.safetensors").unlink()
    with pytest.raises(ModelError, match="lacks 1 of 2 weight files, e.g. b.safetensors"):
        load_model(folder, "float32", CPU)
