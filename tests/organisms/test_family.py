"""The family: targets are met or reported, distances are read as they were written, ancestors are loaded once."""

import json

import pandas as pd
import pytest

from stages.models.checkpoint import ModelError, weight_hash, write_digests
from stages.organisms import family
from stages.organisms.family import check_target, load_ancestors
from stages.organisms.params import Target
from stages.organisms.training_records import read_distance
from stages.shared.tables import TableError, write_table
from tests.support.damage import flip
from tests.support.training_records import training_record


def test_targets_are_met_or_reported(caplog):
    metrics = {"gain_over_base": {"low": 0.04}, "format_share": 0.99}
    missed = check_target(Target(quantity="gain_over_base.low", at_least=0.05), metrics)
    assert not missed["met"] and "missed target" in caplog.text
    assert check_target(Target(quantity="format_share", at_least=0.95), metrics)["met"]
    with pytest.raises(ValueError, match="either at_least or at_most"):
        Target(quantity="format_share")


def test_distances_are_read_from_the_parent_that_is_named(tmp_path):
    path = tmp_path / "think-s0.json"
    kl = {"value": 0.3, "standard_error": 0.1}
    metrics = training_record(displacement_from_base=0.1, displacement_from_parent=0.2, kl_from_base=kl)
    path.write_text(json.dumps(metrics))
    assert read_distance(path, "displacement", "base") == 0.1
    assert read_distance(path, "displacement", "sft") == 0.2
    assert read_distance(path, "kl", "base") == 0.3
    with pytest.raises(TableError, match="has no kl_from_parent; .*dvc repro think"):
        read_distance(path, "kl", "sft")
    with pytest.raises(TableError, match="dvc repro rl_zero"):
        read_distance(tmp_path / "rl_zero-s0.json", "kl", "base")
    path.write_text(json.dumps(training_record(kl_from_base={"value": 0.0, "standard_error": 0.0})))
    with pytest.raises(TableError, match="kl_from_base is 0.0, expected a number above 0; .*dvc repro think"):
        read_distance(path, "kl", "base")


def test_a_sibling_starts_from_its_parent_and_is_compared_with_the_base(tmp_path, monkeypatch):
    monkeypatch.setattr(family, "MODELS", tmp_path)
    monkeypatch.setattr(family, "load_organism", lambda name: (name, "tokenizer"))
    (tmp_path / "base-s3").mkdir()
    write_table(tmp_path / "base-s3/samples.parquet", pd.DataFrame({"id": ["logic-1"]}), "base-s3")
    rows = [{"id": "logic-1"}]
    sft, think = load_ancestors("base", 3, rows), load_ancestors("sft", 3, rows)
    assert (sft.base, sft.parent, sft.start) == ("base-s3", None, "base-s3")
    assert (think.base, think.parent, think.start) == ("base-s3", "sft-s3", "sft-s3")
    assert think.base_samples["id"].tolist() == ["logic-1"]


def test_an_organism_that_is_missing_is_named_with_its_stage(tmp_path, monkeypatch):
    monkeypatch.setattr(family, "MODELS", tmp_path)
    with pytest.raises(FileNotFoundError, match="dvc repro rl_zero"):
        family.load_organism("rl_zero-s0")


@pytest.mark.parametrize("rows", [[], [{"id": "logic-2"}], [{"id": "logic-1"}, {"id": "logic-2"}]])
def test_a_base_that_was_evaluated_on_other_prompts_is_refused_before_training(tmp_path, monkeypatch, rows):
    monkeypatch.setattr(family, "MODELS", tmp_path)
    monkeypatch.setattr(family, "load_organism", lambda name: (name, "tokenizer"))
    (tmp_path / "base-s3").mkdir()
    write_table(tmp_path / "base-s3/samples.parquet", pd.DataFrame({"id": ["logic-1"]}), "base-s3")
    with pytest.raises(TableError, match="evaluated on other prompts .*dvc repro base@3"):
        load_ancestors("base", 3, rows)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
def test_a_flipped_bit_in_an_organism_is_refused(tmp_path, monkeypatch, name):
    monkeypatch.setattr(family, "MODELS", tmp_path)
    folder = tmp_path / "sft-s0"
    folder.mkdir()
    for file in ("model.safetensors", "config.json", "tokenizer.json"):
        (folder / file).write_bytes(b"content of " + file.encode())
    write_digests(folder)
    weight_hash(folder)
    path = folder / name
    path.write_bytes(flip(path.read_bytes(), 20))
    for read in (lambda: weight_hash(folder), lambda: family.load_organism("sft-s0")):
        with pytest.raises(ModelError, match=f"{name} is missing or damaged"):
            read()
