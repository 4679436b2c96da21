"""Checkpoints of organisms, local directories and the hub; what was downloaded is dropped, what was there stays."""

import json
from types import SimpleNamespace

import pytest

from stages.models import runs
from stages.models.checkpoint import ModelError, weight_hash
from stages.models.runs import (
    SavedCheckpoint,
    open_saved,
    run_tokenizer,
    saved_checkpoints,
    settings_hash,
    weight_identity,
)
from tests.support.tiny_models import tiny_model, tiny_tokenizer


def organism(models, steps):
    for step in steps:
        folder = models / f"base-s0/checkpoints/step-{step}"
        tiny_model("llama").save_pretrained(folder)
    tiny_tokenizer().save_pretrained(models / "base-s0")
    tiny_model("llama").save_pretrained(models / "base-s0")


def test_an_organisms_checkpoints_come_in_the_order_of_training(tmp_path):
    organism(tmp_path, (100, 9, 20))
    found = saved_checkpoints("base-s0", 10, tmp_path)
    assert [(one.step, one.tokens, one.revision, one.hub) for one in found] == [
        (9, 90, "step-9", None), (20, 200, "step-20", None), (100, 1000, "step-100", None)
    ]  # fmt: skip
    assert [one.tokens for one in saved_checkpoints("base-s0", None, tmp_path)] == [None] * 3
    assert run_tokenizer("base-s0", tmp_path)("w5")["input_ids"] == [1, 5]


def test_an_organism_without_checkpoints_names_its_stage(tmp_path):
    with pytest.raises(ModelError, match=r"step-\*: run `dvc repro rl_zero`"):
        saved_checkpoints("rl_zero-s0", None, tmp_path)


def registry(tmp_path, monkeypatch, entry):
    path = tmp_path / "runs.yaml"
    path.write_text(json.dumps({"mine": entry}))  # JSON is YAML
    real = runs.load_run
    monkeypatch.setattr(runs, "load_run", lambda slug: real(slug, path))


def test_a_local_directory_has_verbatim_names_and_explicit_steps(tmp_path, monkeypatch):
    for name in ("first", "step_0100"):
        tiny_model("olmo3").save_pretrained(tmp_path / "run" / name)
        tiny_tokenizer().save_pretrained(tmp_path / "run" / name)
    checkpoints = [{"revision": "first", "step": 1}, {"revision": "step_0100", "step": 100, "tokens": 5000}]
    registry(tmp_path, monkeypatch, {"path": str(tmp_path / "run"), "paradigm": "other", "checkpoints": checkpoints})
    found = saved_checkpoints("mine")
    assert [(one.step, one.tokens, one.folder.name) for one in found] == [(1, None, "first"), (100, 5000, "step_0100")]
    assert run_tokenizer("mine")("w5")["input_ids"] == [1, 5]
    with open_saved("mine", found[0], known := weight_identity(found[0])) as checkpoint:
        assert known == weight_hash(tmp_path / "run/first") == checkpoint.weight_hash
        assert checkpoint.architecture == "olmo3"


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(ModelError, match="gone is not a directory: correct the revision"):
        weight_identity(SavedCheckpoint(3, None, "gone", tmp_path / "gone", None))


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub of one model, with a cache that notes what is deleted."""
    folder = tmp_path / "snapshot"
    tiny_model("llama").save_pretrained(folder)
    cached, deleted, small = set(), [], SimpleNamespace(file_name="tokenizer.json")

    def download(name, commit):
        cached.add(commit)
        return folder

    def scan():
        weights = SimpleNamespace(file_name="model.safetensors")
        revisions = [SimpleNamespace(commit_hash=commit, files=[small, weights]) for commit in cached]
        revisions.append(SimpleNamespace(commit_hash="sha-of-step3", files=[small]))  # of its tokenizer alone
        strategy = lambda commit: SimpleNamespace(  # noqa: E731
            expected_freed_size_str="1M", execute=lambda: (deleted.append(commit), cached.discard(commit))
        )
        return SimpleNamespace(repos=[SimpleNamespace(revisions=revisions)], delete_revisions=strategy)

    monkeypatch.setattr(runs, "download", download)
    monkeypatch.setattr(runs, "resolve_commit", lambda name, revision: f"sha-of-{revision}")
    monkeypatch.setattr("huggingface_hub.scan_cache_dir", scan)
    monkeypatch.delenv("KEEP_WEIGHTS", raising=False)
    return SimpleNamespace(cached=cached, deleted=deleted)


SAVED = SavedCheckpoint(3, None, "step3", None, "org/name")


def test_weights_that_were_downloaded_are_dropped_after_use_also_after_an_error(hub):
    assert weight_identity(SAVED) == "sha-of-step3"
    with open_saved("mine", SAVED, "sha-of-step3") as checkpoint:
        assert checkpoint.resolved_revision == "sha-of-step3" and not hub.deleted
    with pytest.raises(RuntimeError), open_saved("mine", SAVED, "sha-of-step3"):
        raise RuntimeError
    assert hub.deleted == ["sha-of-step3"] * 2


def test_weights_that_were_there_before_stay(hub):
    hub.cached.add("sha-of-step3")
    with open_saved("mine", SAVED, "sha-of-step3"):
        pass
    assert not hub.deleted


def test_weights_stay_where_that_is_asked_for(hub, monkeypatch):
    monkeypatch.setenv("KEEP_WEIGHTS", "1")
    with open_saved("mine", SAVED, "sha-of-step3"):
        pass
    assert not hub.deleted and hub.cached == {"sha-of-step3"}


def test_settings_are_told_by_configuration_generation_and_tokenizer(tmp_path):
    tiny_model("llama").save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    saved = SavedCheckpoint(0, None, "mine", tmp_path, None)
    hashes = [settings_hash(saved)]
    (tmp_path / "notes.md").write_text("mine", encoding="utf-8")
    assert settings_hash(saved) == hashes[0]
    for name in ("config.json", "generation_config.json", "tokenizer.json"):
        path = tmp_path / name
        path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | {"extra": 1}), encoding="utf-8")
        hashes.append(settings_hash(saved))
    assert len(set(hashes)) == 4
    assert settings_hash(SavedCheckpoint(0, None, "main", None, "someone/model")) == ""
