"""The family: targets are met or reported, distances are read as they were written, ancestors are loaded once."""

import json

import pandas as pd
import pytest

from stages.organisms import family
from stages.organisms.family import check_target, load_ancestors, read_distance
from stages.organisms.params import Target
from stages.shared.tables import TableError
from tests.support.training_records import training_record


def test_targets_are_met_or_reported(caplog):
    metrics = {"gain_over_base": {"low": 0.04}, "format_share": 0.99}
    missed = check_target(Target(quantity="gain_over_base.low", at_least=0.05), metrics)
    assert not missed["met"] and "missed target" in caplog.text
    assert check_target(Target(quantity="format_share", at_least=0.95), metrics)["met"]
    with pytest.raises(ValueError, match="either at_least or at_most"):
        Target(quantity="format_share")


def test_distances_are_read_from_the_parent_that_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(family, "METRICS", tmp_path)
    kl = {"value": 0.3, "standard_error": 0.1}
    metrics = training_record(displacement_from_base=0.1, displacement_from_parent=0.2, kl_from_base=kl)
    (tmp_path / "think-s0.json").write_text(json.dumps(metrics))
    assert read_distance("think-s0", "displacement", "base") == 0.1
    assert read_distance("think-s0", "displacement", "sft") == 0.2
    assert read_distance("think-s0", "kl", "base") == 0.3
    with pytest.raises(TableError, match="kl_from_parent is missing: run `dvc repro think`"):
        read_distance("think-s0", "kl", "sft")
    with pytest.raises(TableError, match="dvc repro rl_zero"):
        read_distance("rl_zero-s0", "kl", "base")


def test_a_sibling_starts_from_its_parent_and_is_compared_with_the_base(tmp_path, monkeypatch):
    monkeypatch.setattr(family, "MODELS", tmp_path)
    monkeypatch.setattr(family, "load_organism", lambda name: (name, "tokenizer"))
    (tmp_path / "base-s3").mkdir()
    pd.DataFrame({"id": ["logic-1"]}).to_parquet(tmp_path / "base-s3/samples.parquet")
    sft, think = load_ancestors("base", 3), load_ancestors("sft", 3)
    assert (sft.base, sft.parent, sft.start) == ("base-s3", None, "base-s3")
    assert (think.base, think.parent, think.start) == ("base-s3", "sft-s3", "sft-s3")
    assert think.base_samples["id"].tolist() == ["logic-1"]


def test_an_organism_that_is_missing_is_named_with_its_stage(tmp_path, monkeypatch):
    monkeypatch.setattr(family, "MODELS", tmp_path)
    with pytest.raises(FileNotFoundError, match="dvc repro rl_zero"):
        family.load_organism("rl_zero-s0")
