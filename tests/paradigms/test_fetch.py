"""Pinning a model: a local directory through the real code, the hub through a stand-in for its client."""

import json
import shutil
from types import SimpleNamespace

import huggingface_hub
import pytest
import torch
import yaml
from huggingface_hub import errors
from safetensors.torch import load_file, save_file

from stages.models.checkpoint import ModelError, find_checkpoint, open_checkpoint, weight_hash
from stages.models.loading import load_model, load_tokenizer
from stages.models.sites import SITES, CaptureError
from stages.paradigms import fetch
from stages.shared.params import ParamsError
from tests.support.tiny_models import reading_tokenizer, save_llama_gguf, save_wide_model

SHA = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(autouse=True)
def on_the_cpu(monkeypatch):
    monkeypatch.setenv("DEVICE", "cpu")


@pytest.fixture
def registry(tmp_path, monkeypatch):
    """Run in an empty project whose registry is the argument."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text("collect: {precision: float32}")
    path = tmp_path / "data/registry/models.yaml"
    path.parent.mkdir(parents=True)
    return lambda **models: path.write_text(yaml.safe_dump(models))


@pytest.fixture
def readable(tiny_folders, tmp_path):
    """family -> a copy of its checkpoint, with a tokenizer that takes any text."""

    def copy(family):
        folder = shutil.copytree(tiny_folders[family], tmp_path / "elsewhere" / family)
        reading_tokenizer().save_pretrained(folder)
        return folder

    return copy


@pytest.fixture
def local(readable):
    return readable("qwen3")


@pytest.fixture
def hub(readable, monkeypatch):
    """A hub with one model; returns the patterns that were asked for."""
    asked, folder = [], readable("llama")

    def snapshot_download(hub, revision, allow_patterns):
        asked.append((hub, revision, allow_patterns))
        return str(folder)

    files = [
        SimpleNamespace(rfilename=name)
        for name in ("config.json", "model.safetensors", "pytorch_model.bin", "modeling.py")
    ]
    info = SimpleNamespace(sha=SHA, siblings=files)
    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", lambda self, hub, revision: info)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    return SimpleNamespace(asked=asked, info=info)


@pytest.fixture
def nothing_written(tmp_path):
    """Check that a failed fetch leaves neither output, whole nor partial."""
    return lambda: not (tmp_path / "data/models").exists() and not (tmp_path / "metrics").exists()


def written(tmp_path, slug):
    paths = (tmp_path / "data/models" / slug / "model.json", tmp_path / "metrics/fetch" / f"{slug}.json")
    return tuple(json.loads(path.read_text()) for path in paths)


@pytest.mark.parametrize("family", SITES)
def test_every_family_by_path(family, registry, readable, tiny_models, tmp_path):
    registry(mine={"path": str(readable(family)), "paradigm": "base"})
    fetch.main("mine")
    model = load_model(open_checkpoint("mine"), "float32")
    for name, value in tiny_models[family].state_dict().items():
        torch.testing.assert_close(model.state_dict()[name], value, rtol=0, atol=0)
    if family != "qwen2":  # transformers rebuilds its tokenizer as byte-level BPE, which the tiny one is not
        assert load_tokenizer(find_checkpoint("mine"))("w4 w9")["input_ids"] == [1, 4, 9]
    pointer, record = written(tmp_path, "mine")
    assert record["architecture"] == pointer["architecture"] == tiny_models[family].config.model_type
    assert (record["layers"], record["width"]) == (3, 16)


def test_the_smoke_record(registry, local, tmp_path):
    registry(mine={"path": str(local), "paradigm": "sft"})
    fetch.main("mine")
    _, record = written(tmp_path, "mine")
    norms = record.pop("residual_norms")
    assert record.pop("tokens_per_second") > 0
    assert record.pop("parameters") > 1000
    assert record.pop("completion")
    assert record == {
        "architecture": "qwen3",
        "layers": 3,
        "width": 16,
        "stored_as": "F32",
        "precision": "float32",
        "device": "cpu",
        "self_test": "passed",
        "same_weights_as": "none",
    }
    assert 0 < norms["median"] <= norms["largest"]
    assert norms["largest_over_median"] >= norms["largest_over_median_after_position_0"] >= 1


def test_a_local_directory(registry, local, tmp_path):
    registry(mine={"path": str(local), "paradigm": "sft"})
    fetch.main("mine")
    assert written(tmp_path, "mine")[0] == {
        "path": str(local),
        "paradigm": "sft",
        "resolved_revision": "local",
        "architecture": "qwen3",
        "weight_hash": weight_hash(local),
    }
    checkpoint = open_checkpoint("mine")
    assert (checkpoint.folder, checkpoint.paradigm, checkpoint.architecture) == (local, "sft", "qwen3")
    assert find_checkpoint("mine") == checkpoint


def test_the_pointer_repeats_to_the_byte(registry, local, tmp_path):
    registry(mine={"path": str(local), "paradigm": "sft"})
    path = tmp_path / "data/models/mine/model.json"
    fetch.main("mine")
    before = path.read_bytes()
    fetch.main("mine")
    assert path.read_bytes() == before


@pytest.mark.parametrize("precision", ["int8", "nf4"])
def test_a_quantised_condition(precision, registry, tmp_path):
    pytest.importorskip("bitsandbytes")
    save_wide_model("olmo3", tmp_path / "wide")
    entry = {"path": "wide", "paradigm": "sft", "reference": "plain", "licence": "mit"}
    condition = {"precision": precision, "prompt_format": "chat"}
    registry(plain={**entry, "paradigm": "base"}, mine=entry | condition)
    fetch.main("plain")
    fetch.main("mine")
    pointer, record = written(tmp_path, "mine")
    assert {key: pointer[key] for key in condition} == condition
    assert pointer["reference"] == "plain"
    assert record["precision"] == precision
    assert record["same_weights_as"] == "none"  # a condition is no second name
    checkpoint = open_checkpoint("mine")
    assert (checkpoint.precision, checkpoint.prompt_format) == (precision, "chat")
    assert written(tmp_path, "plain")[1]["precision"] == "float32"


def test_the_same_weights_under_two_names_are_reported(registry, local, tmp_path, caplog):
    registry(one={"path": str(local), "paradigm": "sft"}, two={"path": str(local), "paradigm": "sft"})
    fetch.main("one")
    assert written(tmp_path, "one")[1]["same_weights_as"] == "none"
    fetch.main("two")
    assert written(tmp_path, "two")[1]["same_weights_as"] == "one"
    assert "two has the same weights as one" in caplog.text
    fetch.main("two")  # not a duplicate of itself
    assert written(tmp_path, "two")[1]["same_weights_as"] == "one"


def test_a_gguf_file(registry, tmp_path, nothing_written):
    (tmp_path / "weights").mkdir()
    original = save_llama_gguf(tmp_path / "weights/tiny.gguf")
    registry(mine={"path": "weights/tiny.gguf", "paradigm": "sft"})
    fetch.main("mine")
    pointer, record = written(tmp_path, "mine")
    assert (pointer["architecture"], pointer["path"]) == ("llama", "weights/tiny.gguf")
    assert (record["stored_as"], record["parameters"]) == ("F32", original.num_parameters())
    checkpoint = open_checkpoint("mine")
    assert (str(checkpoint.folder), checkpoint.gguf) == ("weights", "tiny.gguf")
    model = load_model(checkpoint, "float32")
    torch.testing.assert_close(model.state_dict(), original.state_dict(), rtol=0, atol=0)


def test_a_truncated_gguf_file(registry, tmp_path, nothing_written):
    save_llama_gguf(tmp_path / "tiny.gguf")
    (tmp_path / "tiny.gguf").write_bytes((tmp_path / "tiny.gguf").read_bytes()[:-4000])
    registry(mine={"path": "tiny.gguf", "paradigm": "sft"})
    with pytest.raises(ModelError, match="tiny.gguf cannot be read, copy or convert it again"):
        fetch.main("mine")
    assert nothing_written()


def test_olmo2_retrofit_is_recorded_as_olmo3(registry, readable, tmp_path):
    folder = readable("olmo3")
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "olmo2-retrofit", "architectures": ["Olmo2RetrofitForCausalLM"]}
    (folder / "config.json").write_text(json.dumps(config))
    registry(mine={"path": str(folder), "paradigm": "rl_zero"})
    fetch.main("mine")
    assert written(tmp_path, "mine")[0]["architecture"] == open_checkpoint("mine").architecture == "olmo3"


def test_a_residual_stream_that_is_not_finite(registry, local, nothing_written):
    weights = load_file(local / "model.safetensors")
    weights["model.layers.1.mlp.down_proj.weight"][0, 0] = float("inf")
    save_file(weights, local / "model.safetensors", metadata={"format": "pt"})
    registry(mine={"path": str(local), "paradigm": "sft"})
    with pytest.raises((ModelError, CaptureError), match="layer 1.*not finite|not finite.*layer 1"):
        fetch.main("mine")
    assert nothing_written()


def test_a_tokenizer_that_takes_no_text(registry, local, tiny_folders, nothing_written):
    shutil.copy(tiny_folders["qwen3"] / "tokenizer.json", local)
    registry(mine={"path": str(local), "paradigm": "sft"})
    with pytest.raises(ModelError, match="the tokenizer in .* cannot encode 'The capital"):
        fetch.main("mine")
    assert nothing_written()


def test_weights_that_changed_since_are_refused(registry, local):
    registry(mine={"path": str(local), "paradigm": "sft"})
    fetch.main("mine")
    with (local / "model.safetensors").open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\x7f")
    with pytest.raises(ModelError, match="they changed since; run `dvc repro -f fetch@mine`"):
        open_checkpoint("mine")
    shutil.rmtree(local)
    with pytest.raises(ModelError, match="qwen3 is not a directory: correct mine.path in data/registry/models.yaml"):
        open_checkpoint("mine")


def test_a_hub_model_is_pinned_to_its_commit(registry, hub, tiny_folders, tmp_path):
    registry(tiny={"hub": "some/tiny", "revision": "step_0100", "paradigm": "rl_zero"})
    fetch.main("tiny")
    pointer, _ = written(tmp_path, "tiny")
    assert (pointer["hub"], pointer["revision"], pointer["resolved_revision"]) == ("some/tiny", "step_0100", SHA)
    assert pointer["weight_hash"] == weight_hash(tiny_folders["llama"])
    assert open_checkpoint("tiny").resolved_revision == SHA
    patterns = {pattern for _, revision, allowed in hub.asked for pattern in allowed}
    assert "model.safetensors" in patterns
    assert not {p for p in patterns if p.endswith((".py", ".bin", ".pt", "*", "*.safetensors"))}
    assert {revision for _, revision, _ in hub.asked} == {SHA}


def test_pickled_weights_on_the_hub_are_refused(registry, hub, nothing_written):
    hub.info.siblings = [SimpleNamespace(rfilename="pytorch_model.bin")]
    registry(tiny={"hub": "some/tiny", "revision": "main", "paradigm": "base"})
    with pytest.raises(ModelError, match="some/tiny at main has no model.safetensors.*pickled weights can run code"):
        fetch.main("tiny")
    assert nothing_written()


def test_a_cached_commit_needs_no_network(registry, tiny_folders, tmp_path, monkeypatch):
    """The real client of the hub, offline, on a cache that holds the commit; then on one that lacks its weights."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    snapshot = shutil.copytree(tiny_folders["llama"], tmp_path / "cache/models--some--tiny/snapshots" / SHA)
    pointer = {
        "hub": "some/tiny",
        "revision": "main",
        "resolved_revision": SHA,
        "paradigm": "base",
        "architecture": "llama",
        "weight_hash": weight_hash(snapshot),
    }
    (tmp_path / "data/models/tiny").mkdir(parents=True)
    (tmp_path / "data/models/tiny/model.json").write_text(json.dumps(pointer))
    assert open_checkpoint("tiny").folder == snapshot
    (snapshot / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="has no weights|cannot be reached"):
        open_checkpoint("tiny")
    shutil.rmtree(tmp_path / "cache")
    with pytest.raises(
        ModelError, match="cannot fetch some/tiny at 0123.*the hub cannot be reached and the cache lacks files"
    ):
        open_checkpoint("tiny")


@pytest.mark.parametrize(
    ("error", "fix"),
    [
        (errors.GatedRepoError, "accept its licence at https://huggingface.co/some/tiny, then set HF_TOKEN"),
        (errors.RepositoryNotFoundError, "no such public model: correct hub in data/registry/models.yaml"),
        (errors.RevisionNotFoundError, "no such revision: choose a branch"),
        (errors.OfflineModeIsEnabled, "the hub cannot be reached.*give `path`"),
        (errors.LocalEntryNotFoundError, "the hub cannot be reached.*give `path`"),
        (errors.HFValidationError, "expected organisation/name"),
    ],
)
def test_a_hub_error_says_what_to_do(error, fix, registry, hub, monkeypatch, nothing_written):
    def fail(*_, **__):
        raise error.__new__(error)  # without the HTTP response that some of them want

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", fail)
    registry(tiny={"hub": "some/tiny", "revision": "main", "paradigm": "base"})
    with pytest.raises(ModelError, match=f"cannot fetch some/tiny at main: .*{fix}"):
        fetch.main("tiny")
    assert nothing_written()


def test_an_unknown_architecture_is_refused(registry, local, nothing_written):
    (local / "config.json").write_text(json.dumps({"model_type": "bloom"}))
    registry(mine={"path": str(local), "paradigm": "rl_zero"})
    with pytest.raises(CaptureError, match="model_type 'bloom'; known: llama"):
        fetch.main("mine")
    assert nothing_written()


@pytest.mark.parametrize(("path", "kind"), [("/nowhere", "directory"), ("/nowhere/x.gguf", "file")])
def test_a_missing_path(path, kind, registry):
    registry(mine={"path": path, "paradigm": "sft"})
    with pytest.raises(ModelError, match=f"model mine: {path} is not a {kind}: correct mine.path in data/registry"):
        fetch.main("mine")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"path": None}, "models.yaml: mine.*expected either hub and revision"),
        ({"path": None, "hub": "a/b"}, "expected either hub and revision"),
        ({"hub": "a/b", "revision": "main"}, "expected either hub and revision"),
        ({"revision": "main"}, "expected either hub and revision"),
        (
            {"paradigm": "rlhf"},
            "models.yaml: mine.paradigm: .*'base', 'sft', 'dpo', 'rl_zero', 'rlvr', 'think' or 'other'.*found 'rlhf'",
        ),
        ({"precision": "float16"}, "mine.precision: .*'float32', 'bfloat16', 'int8' or 'nf4'.*found 'float16'"),
        ({"prompt_format": "chatml"}, "mine.prompt_format: .*'plain' or 'chat'.*found 'chatml'"),
        ({"paht": "x"}, "unknown key mine.paht: did you mean 'path'"),
        ({"reference": "orign"}, "mine.reference: no model 'orign': did you mean 'origin'"),
        ({"reference": "tuned"}, "'tuned' is no base, its own reference is 'origin': name the base of both"),
    ],
)
def test_bad_entries(changes, message, registry):
    others = {"origin": {"reference": "origin"}, "tuned": {"reference": "origin"}}
    entry = {key: value for key, value in {"path": "x", "paradigm": "sft", **changes}.items() if value is not None}
    registry(mine=entry, **others)
    with pytest.raises(ParamsError, match=message):
        fetch.main("mine")


def test_a_misspelt_slug(registry):
    registry(gpt2={"path": "x", "paradigm": "base"})
    with pytest.raises(ParamsError, match="models.yaml: no model 'gtp2': did you mean 'gpt2'"):
        fetch.main("gtp2")


def test_a_slug_with_a_dot(registry):
    registry(**{"olmo-3.1": {"path": "x", "paradigm": "base"}})
    with pytest.raises(ParamsError, match="letters, digits, - and _ only"):
        fetch.main("olmo-3.1")


@pytest.mark.parametrize(
    ("text", "message"), [("- a\n- b", "expected (slugs|names) with an entry each"), ("mine: [", "is not valid YAML")]
)
def test_a_registry_that_cannot_be_read(text, message, registry, tmp_path):
    (tmp_path / "data/registry/models.yaml").write_text(text)
    with pytest.raises(ParamsError, match=message):
        fetch.main("mine")


def test_a_missing_registry_says_where_to_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ParamsError, match="run from the root of the repository"):
        fetch.main("mine")
