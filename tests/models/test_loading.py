"""Loading: every family, explicit precision, and every way a checkpoint can be bad."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import LlamaPreTrainedModel

from stages.models import loading
from stages.models.capture import self_test
from stages.models.checkpoint import (
    Checkpoint,
    ModelError,
    architecture,
    find_checkpoint,
    open_checkpoint,
    weight_files,
    weight_hash,
)
from stages.models.loading import device, load_model, load_tokenizer
from stages.models.sites import SITES

CPU = torch.device("cpu")


def at(folder, **changes):
    return Checkpoint("mine", folder, "other", "local", "", "")._replace(**changes)


def rewrite_weights(folder, change):
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def rewrite_config(folder, **changes):
    config = json.loads((folder / "config.json").read_text()) | changes
    (folder / "config.json").write_text(json.dumps({key: value for key, value in config.items() if value is not None}))


@pytest.fixture
def folder(tiny_folders, tmp_path):
    return shutil.copytree(tiny_folders["olmo3"], tmp_path / "olmo3")


@pytest.mark.parametrize("family", SITES)
def test_every_family_loads_and_keeps_its_weights(family, tiny_folders, tiny_models):
    model = load_model(at(tiny_folders[family]), "float32", target=CPU)
    self_test(model)
    assert not model.training
    for name, value in tiny_models[family].state_dict().items():
        torch.testing.assert_close(model.state_dict()[name], value, rtol=0, atol=0)


def test_the_precision_is_the_one_asked_for_not_the_stored_one(folder):
    assert load_model(at(folder), "bfloat16", target=CPU).dtype == torch.bfloat16
    assert load_model(at(folder), "float32", target=CPU).dtype == torch.float32
    rewrite_weights(folder, lambda weights: weights.update({name: value.half() for name, value in weights.items()}))
    rewrite_config(folder, dtype="float16")
    assert load_model(at(folder), "float32", target=CPU).dtype == torch.float32


def test_float16_is_refused(folder):
    with pytest.raises(ModelError, match="precision 'float16': expected one of float32, bfloat16, int8, nf4"):
        load_model(at(folder), "float16", target=CPU)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_the_attention_is_the_one_asked_for(attention, folder):
    assert load_model(at(folder), "float32", attention, CPU).config._attn_implementation == attention


def test_an_architecture_without_sdpa_says_that_it_uses_eager(tiny_folders, monkeypatch, caplog):
    monkeypatch.setattr(LlamaPreTrainedModel, "_supports_sdpa", False)
    model = load_model(at(tiny_folders["llama"]), "float32", target=CPU)
    assert model.config._attn_implementation == "eager"
    assert "llama has no sdpa attention, eager is used" in caplog.text


def test_both_attentions_agree(tiny_folders):
    ids = torch.tensor([[3, 7, 9, 11, 4]])
    outputs = [load_model(at(tiny_folders["olmo3"]), "float32", name, CPU)(ids).logits for name in ("sdpa", "eager")]
    torch.testing.assert_close(*outputs, rtol=1e-4, atol=1e-4)


def test_the_device_comes_from_the_environment(monkeypatch):
    default = "cuda" if torch.cuda.is_available() else "cpu"
    monkeypatch.setenv("DEVICE", "meta")
    assert device().type == "meta"
    monkeypatch.setenv("DEVICE", "gpu")
    with pytest.raises(ModelError, match="DEVICE is 'gpu', which torch cannot use here: set it to cpu, cuda or auto"):
        device()
    monkeypatch.setenv("DEVICE", "auto")
    assert device().type == default
    monkeypatch.delenv("DEVICE")
    assert device().type == default


@pytest.mark.skipif(torch.cuda.is_available(), reason="auto chooses the GPU")
def test_auto_on_a_cpu_is_the_cpu(folder, monkeypatch):
    plain = load_model(at(folder), "float32", target=CPU)
    monkeypatch.setenv("DEVICE", "auto")
    spread = load_model(at(folder), "float32")
    assert spread.device.type == "cpu"
    ids = torch.tensor([[3, 7, 9, 11, 4]])
    torch.testing.assert_close(spread(ids).logits, plain(ids).logits, rtol=0, atol=0)


def test_missing_weight_file(folder):
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="has no weights: expected model.safetensors"):
        load_model(at(folder), "float32", target=CPU)


def test_pickled_weights_are_refused(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match="found pytorch_model.bin: pickled weights can run code and are refused"):
        load_model(at(folder), "float32", target=CPU)


def test_a_missing_tensor_is_not_left_random(folder):
    rewrite_weights(folder, lambda weights: weights.pop("model.layers.1.mlp.up_proj.weight"))
    with pytest.raises(ModelError, match="1 weights are missing from.*e.g. model.layers.1.mlp.up_proj.weight"):
        load_model(at(folder), "float32", target=CPU)


def test_a_tensor_without_a_place_is_refused(folder):
    rewrite_weights(folder, lambda weights: weights.update({"model.layers.3.mlp.up_proj.weight": torch.ones(2)}))
    with pytest.raises(ModelError, match="1 weights are in excess.*e.g. model.layers.3.mlp.up_proj.weight"):
        load_model(at(folder), "float32", target=CPU)


def test_a_tensor_of_another_shape_is_refused(folder):
    rewrite_weights(folder, lambda weights: weights.update({"model.norm.weight": torch.ones(2)}))
    with pytest.raises(ModelError, match="1 weights are of another shape.*e.g. model.norm.weight"):
        load_model(at(folder), "float32", target=CPU)


def test_buffers_that_old_versions_stored_are_no_weights(tiny_folders, tmp_path):
    folder = shutil.copytree(tiny_folders["gpt2"], tmp_path / "gpt2")
    rewrite_weights(folder, lambda weights: weights.update({"transformer.h.0.attn.bias": torch.ones(1, 1, 64, 64)}))
    load_model(at(folder), "float32", target=CPU)


def test_weights_quantised_beforehand_are_refused(folder):
    rewrite_config(folder, quantization_config={"quant_method": "gptq", "bits": 4})
    with pytest.raises(ModelError, match="quantised beforehand.*take the unquantised checkpoint"):
        load_model(at(folder), "float32", target=CPU)


@pytest.fixture
def retrofit(folder):
    """The olmo3 checkpoint under the name that its architecture had before the release."""
    rewrite_config(folder, model_type="olmo2-retrofit", architectures=["Olmo2RetrofitForCausalLM"], layer_types=None)
    return folder


def test_olmo2_retrofit_is_olmo3(retrofit, tiny_folders):
    assert architecture(retrofit) == "olmo3"
    assert load_tokenizer(at(retrofit))("w5 w7")["input_ids"] == [1, 5, 7]
    found, expected = (load_model(at(folder), "float32", target=CPU) for folder in (retrofit, tiny_folders["olmo3"]))
    assert found.config.layer_types == ["sliding_attention"] * 3
    assert type(found) is type(expected)
    for name, value in expected.state_dict().items():
        torch.testing.assert_close(found.state_dict()[name], value, rtol=0, atol=0)
    ids = torch.arange(3, 23)[None]  # longer than the sliding window
    states = [model(ids, output_hidden_states=True).hidden_states for model in (found, expected)]
    for one, other in zip(*states, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)
    self_test(found)


def test_olmo2_retrofit_has_full_attention_in_every_fourth_layer(retrofit):
    rewrite_config(retrofit, num_hidden_layers=8)
    types = loading.load_config(at(retrofit)).layer_types
    assert types == ["sliding_attention", "sliding_attention", "sliding_attention", "full_attention"] * 2


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda weights: weights.pop("model.norm.weight"), "missing from"),
        (lambda weights: weights.update({"model.layers.0.input_layernorm.weight": torch.ones(16)}), "in excess in"),
    ],
)
def test_olmo2_retrofit_with_other_weights_is_refused(change, what, retrofit):
    rewrite_weights(retrofit, change)
    with pytest.raises(ModelError, match=f"1 weights are {what}"):
        load_model(at(retrofit), "float32", target=CPU)


def test_a_truncated_weight_file(folder):
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelError, match="olmo3 cannot be loaded"):
        load_model(at(folder), "float32", target=CPU)


def test_code_of_a_repository_is_never_run(folder, tmp_path):
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "evil", "auto_map": {"AutoConfig": "evil.Config", "AutoModelForCausalLM": "evil.Model"}}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_model(at(folder), "float32", target=CPU)
    assert not (tmp_path / "ran").exists()


def test_missing_tokenizer(folder):
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()
    with pytest.raises(ModelError, match="no usable tokenizer"):
        load_tokenizer(at(folder))


@pytest.mark.parametrize(
    ("name", "stage"), [("rl_zero-s0", "dvc repro rl_zero`"), ("olmo3-7b", "dvc repro fetch@olmo3-7b`")]
)
def test_a_missing_model_names_the_stage_that_makes_it(name, stage, tmp_path):
    with pytest.raises(ModelError, match=stage):
        open_checkpoint(name, tmp_path)
    with pytest.raises(ModelError, match=stage):
        find_checkpoint(name, tmp_path)


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
    assert (checkpoint.precision, checkpoint.prompt_format, checkpoint.gguf) == (None, "plain", None)
    assert find_checkpoint(name, folder.parent) == checkpoint._replace(weight_hash="")


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
    self_test(load_model(at(folder), "float32", target=CPU))
    (folder / "b.safetensors").unlink()
    with pytest.raises(ModelError, match="lacks 1 of 2 weight files, e.g. b.safetensors"):
        load_model(at(folder), "float32", target=CPU)
