"""Pinning a model: a local directory through the real code, the hub through a stand-in for its client."""

import json
import shutil
from types import SimpleNamespace

import huggingface_hub
import pytest
import yaml
from huggingface_hub import errors

from stages import fetch
from stages.models.checkpoint import ModelError, open_checkpoint, weight_hash
from stages.models.sites import CaptureError
from stages.params.loading import ParamsError

SHA = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def registry(tmp_path, monkeypatch):
    """Run in an empty project whose registry is the argument."""
    monkeypatch.chdir(tmp_path)
    return lambda **models: (tmp_path / "params.yaml").write_text(yaml.safe_dump({"models": models}))


@pytest.fixture
def local(tiny_folders, tmp_path):
    return shutil.copytree(tiny_folders["qwen2"], tmp_path / "elsewhere")


@pytest.fixture
def hub(tiny_folders, tmp_path, monkeypatch):
    """A hub with one model; returns the patterns that were asked for."""
    asked = []

    def snapshot_download(hub, revision, allow_patterns):
        asked.append((hub, revision, allow_patterns))
        return str(tiny_folders["llama"])

    files = [
        SimpleNamespace(rfilename=name)
        for name in ("config.json", "model.safetensors", "pytorch_model.bin", "modeling.py")
    ]
    info = SimpleNamespace(sha=SHA, siblings=files)
    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", lambda self, hub, revision: info)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    return SimpleNamespace(asked=asked, info=info)


def test_a_local_directory(registry, local, tmp_path):
    registry(mine={"path": str(local), "paradigm": "sft"})
    fetch.main("mine")
    assert json.loads((tmp_path / "data/models/mine/model.json").read_text()) == {
        "path": str(local),
        "paradigm": "sft",
        "resolved_revision": "local",
        "architecture": "qwen2",
        "weight_hash": weight_hash(local),
    }
    checkpoint = open_checkpoint("mine")
    assert (checkpoint.folder, checkpoint.paradigm, checkpoint.architecture) == (local, "sft", "qwen2")


def test_weights_that_changed_since_are_refused(registry, local):
    registry(mine={"path": str(local), "paradigm": "sft"})
    fetch.main("mine")
    with (local / "model.safetensors").open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\x7f")
    with pytest.raises(ModelError, match="they changed since; run `dvc repro -f fetch@mine`"):
        open_checkpoint("mine")
    shutil.rmtree(local)
    with pytest.raises(ModelError, match="elsewhere is not a directory: correct models.mine.path"):
        open_checkpoint("mine")


def test_a_hub_model_is_pinned_to_its_commit(registry, hub, tiny_folders, tmp_path):
    registry(tiny={"hub": "some/tiny", "revision": "step_0100", "paradigm": "rl_zero"})
    fetch.main("tiny")
    pointer = json.loads((tmp_path / "data/models/tiny/model.json").read_text())
    assert (pointer["hub"], pointer["revision"], pointer["resolved_revision"]) == ("some/tiny", "step_0100", SHA)
    assert pointer["weight_hash"] == weight_hash(tiny_folders["llama"])
    assert open_checkpoint("tiny").resolved_revision == SHA
    patterns = {pattern for _, revision, allowed in hub.asked for pattern in allowed}
    assert "model.safetensors" in patterns
    assert not {p for p in patterns if p.endswith((".py", ".bin", ".pt", "*", "*.safetensors"))}
    assert {revision for _, revision, _ in hub.asked} == {SHA}


def test_pickled_weights_on_the_hub_are_refused(registry, hub, tmp_path):
    hub.info.siblings = [SimpleNamespace(rfilename="pytorch_model.bin")]
    registry(tiny={"hub": "some/tiny", "revision": "main", "paradigm": "base"})
    with pytest.raises(ModelError, match="some/tiny at main has no model.safetensors.*pickled weights can run code"):
        fetch.main("tiny")
    assert not (tmp_path / "data").exists()


def test_a_cached_commit_needs_no_network(registry, tiny_folders, tmp_path, monkeypatch):
    """The real client of the hub, offline, on a cache that holds the commit; then on one that lacks its weights."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    snapshot = shutil.copytree(tiny_folders["llama"], tmp_path / "cache/models--some--tiny/snapshots" / SHA)
    pointer = {
        "hub": "some/tiny",
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
        (errors.RepositoryNotFoundError, "no such public model: correct hub in models of params.yaml"),
        (errors.RevisionNotFoundError, "no such revision: choose a branch"),
        (errors.OfflineModeIsEnabled, "the hub cannot be reached.*give `path`"),
        (errors.LocalEntryNotFoundError, "the hub cannot be reached.*give `path`"),
        (errors.HFValidationError, "expected organisation/name"),
    ],
)
def test_a_hub_error_says_what_to_do(error, fix, registry, hub, monkeypatch, tmp_path):
    def fail(*_, **__):
        raise error.__new__(error)  # without the HTTP response that some of them want

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", fail)
    registry(tiny={"hub": "some/tiny", "revision": "main", "paradigm": "base"})
    with pytest.raises(ModelError, match=f"cannot fetch some/tiny at main: .*{fix}"):
        fetch.main("tiny")
    assert not (tmp_path / "data").exists()


def test_an_unknown_architecture_is_refused(registry, local, tmp_path):
    (local / "config.json").write_text(json.dumps({"model_type": "olmo2-retrofit"}))
    registry(mine={"path": str(local), "paradigm": "rl_zero"})
    with pytest.raises(CaptureError, match="model_type 'olmo2-retrofit'; known: llama"):
        fetch.main("mine")
    assert not (tmp_path / "data").exists()


def test_a_missing_directory(registry):
    registry(mine={"path": "/nowhere", "paradigm": "sft"})
    with pytest.raises(ModelError, match="model mine: /nowhere is not a directory: correct models.mine.path"):
        fetch.main("mine")


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"paradigm": "sft"}, "models.mine.*expected either hub and revision"),
        ({"hub": "a/b", "paradigm": "sft"}, "expected either hub and revision"),
        ({"hub": "a/b", "revision": "main", "path": "x", "paradigm": "sft"}, "expected either hub and revision"),
        ({"path": "x", "revision": "main", "paradigm": "sft"}, "expected either hub and revision"),
        (
            {"path": "x", "paradigm": "rlhf"},
            "models.mine.paradigm: .*'base', 'sft', 'rl_zero', 'think' or 'other'.*found 'rlhf'",
        ),
        ({"paht": "x", "paradigm": "sft"}, "unknown key models.mine.paht: did you mean 'path'"),
    ],
)
def test_bad_entries(entry, message, registry):
    registry(mine=entry)
    with pytest.raises(ParamsError, match=message):
        fetch.main("mine")


def test_a_misspelt_slug(registry):
    registry(gpt2={"path": "x", "paradigm": "base"})
    with pytest.raises(ParamsError, match="no model 'gtp2' in models: did you mean 'gpt2'"):
        fetch.main("gtp2")


def test_a_slug_with_a_dot(registry):
    registry(**{"olmo-3.1": {"path": "x", "paradigm": "base"}})
    with pytest.raises(ParamsError, match="letters, digits, - and _ only"):
        fetch.main("olmo-3.1")
