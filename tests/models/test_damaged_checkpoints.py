"""Folders that are no whole checkpoint: each is named in one line, with the file and the fix, wherever it is opened."""

import json
import shutil

import pytest
import torch

from stages.models.checkpoint import (
    Checkpoint,
    ModelError,
    architecture,
    read_config,
    resolve_commit,
    weight_files,
    weight_hash,
)
from stages.models.loading import load_config, load_model, load_tokenizer
from stages.models.runs import SavedCheckpoint, open_saved, weight_identity

INDEX = "model.safetensors.index.json"


@pytest.fixture
def folder(tiny_folders, tmp_path):
    return shutil.copytree(tiny_folders["llama"], tmp_path / "model")


def at(folder):
    return Checkpoint("mine", folder, "other", "local", "", "")


def message(call, *arguments) -> str:
    with pytest.raises(ModelError) as error:
        call(*arguments)
    assert "\n" not in str(error.value)
    return str(error.value)


def opened(run, saved):
    with open_saved(run, saved, "hash"):
        pass


@pytest.mark.parametrize("whole", [True, False], ids=["beside a model", "alone"])
def test_an_adapter_is_named_with_the_line_that_merges_it(whole, folder):
    if not whole:
        for path in folder.iterdir():
            path.unlink()
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "base_model_name_or_path": "x"}))
    (folder / "adapter_model.safetensors").write_bytes(b"")
    saved = SavedCheckpoint(0, None, "model", folder, None)
    for call, *arguments in (
        (weight_files, folder),
        (weight_hash, folder),
        (architecture, folder),
        (load_config, at(folder)),
        (load_tokenizer, at(folder)),
        (load_model, at(folder), "float32"),
        (weight_identity, saved),
        (opened, "run", saved),
    ):
        text = message(call, *arguments)
        assert f"{folder} holds an adapter (adapter_config.json), expected a whole model" in text
        assert f"M.from_pretrained('{folder}').merge_and_unload().save_pretrained('{folder}-merged')" in text
        assert ("or remove adapter_config.json" in text) == whole


def test_an_adapter_beside_a_gguf_file_is_not_loaded_on_top(tmp_path):
    (tmp_path / "adapter_config.json").write_text("{}")
    assert "holds an adapter" in message(weight_files, tmp_path, "model.gguf")


def test_an_adapter_on_the_hub_is_named(monkeypatch):
    from types import SimpleNamespace

    import huggingface_hub

    files = [SimpleNamespace(rfilename=name) for name in ("adapter_config.json", "adapter_model.safetensors")]
    info = SimpleNamespace(sha="0" * 40, siblings=files)
    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", lambda *_, **__: info)
    assert "organisation/lora at main holds an adapter" in message(resolve_commit, "organisation/lora", "main")


CONFIGS = {
    "cut off": '{"model_type": "lla',
    "empty": "",
    "not UTF-8": b'{"model_type": "\xff"}',
    "a list": "[]",
    "null": "null",
    "too deep": "[" * 100_000,
    "without model_type": '{"hidden_size": 16}',
    "with another type of it": '{"model_type": ["llama"]}',
    "with null for it": '{"model_type": null}',
}


@pytest.mark.parametrize("content", CONFIGS.values(), ids=CONFIGS)
def test_a_configuration_that_is_none_is_named(content, folder):
    (folder / "config.json").write_bytes(content if isinstance(content, bytes) else content.encode())
    for call, *arguments in (
        (read_config, folder),
        (architecture, folder),
        (load_tokenizer, at(folder)),
        (load_model, at(folder), "float32"),
    ):
        text = message(call, *arguments)
        assert str(folder / "config.json") in text and "expected" in text and "copy or fetch" in text


INDICES = {
    "empty": "",
    "an empty object": "{}",
    "an empty map": '{"weight_map": {}}',
    "a list for a map": '{"weight_map": ["a"]}',
    "null": "null",
    "a number for a file": '{"weight_map": {"a": 5}}',
    "a file elsewhere": '{"weight_map": {"a": "../model.safetensors"}}',
    "a pickled file": '{"weight_map": {"a": "pytorch_model.bin"}}',
    "a missing file": '{"weight_map": {"a": "model-00001-of-00002.safetensors"}}',
}


@pytest.mark.parametrize("content", INDICES.values(), ids=INDICES)
def test_an_index_of_shards_that_is_none_is_named(content, folder):
    (folder / "model.safetensors").unlink()
    (folder / INDEX).write_text(content)
    for call, *arguments in ((weight_files, folder), (weight_hash, folder), (load_model, at(folder), "float32")):
        text = message(call, *arguments)
        assert str(folder) in text and ("expected" in text or "copy or fetch it again" in text)


@pytest.mark.parametrize("prefix", ["", "\ufeff"], ids=["plain", "with a byte order mark"])
def test_null_for_a_quantisation_is_no_quantisation(prefix, folder):
    path = folder / "config.json"
    content = json.loads(path.read_text()) | {"quantization_config": None}
    plain = load_model(at(folder), "float32", target=torch.device("cpu")).state_dict()
    path.write_text(prefix + json.dumps(content), encoding="utf-8")
    found = load_model(at(folder), "float32", target=torch.device("cpu")).state_dict()
    assert all(torch.equal(found[name], value) for name, value in plain.items())
