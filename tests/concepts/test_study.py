"""The study of concepts end to end, on tiny models of several families, and what it refuses."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from stages.concepts import autoencode, evaluate, extract
from stages.concepts import plot as plot_concepts
from stages.concepts import prepare as prepare_concepts
from stages.concepts import summarise as concepts
from stages.concepts.autoencoders.training import CheckpointError
from stages.concepts.ontologies.hierarchy import OntologyError
from stages.concepts.state_files import ConceptStateError
from stages.shared.params import ParamsError
from stages.shared.tables import TableError
from tests.support.concept_study import VARIANTS, WORDS, prepare, small, write_hierarchy, write_params

TABLES = "data/concepts/records"


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """The whole study, once."""
    project = tmp_path_factory.mktemp("concepts")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(project)
        patch.setenv("JOBS", "1")
        prepare(project)
        extract.main("one", "one")
        extract.main("two", "one")
        autoencode.main()
        evaluate.main()
        concepts.main()
        plot_concepts.main()
    return project


@pytest.fixture
def inside(done, monkeypatch):
    monkeypatch.chdir(done)
    monkeypatch.setenv("JOBS", "1")
    yield done
    write_params(done, small())


def table(project, name, folder=TABLES) -> pd.DataFrame:
    return pd.read_parquet(project / folder / f"{name}.parquet")


def test_random_models_pass_no_gate(done):
    gate = table(done, "gate")
    assert not gate["passes"].any()
    assert set(gate["null"]) == {"none", "labels", "rows", "gaussian"}
    assert set(gate["metric"]) == {"unembedding", "fisher", "logits", "euclidean"}
    assert set(gate["state"]) == {"final", "untrained"}


def test_every_autoencoder_is_measured_and_steered_by(done):
    quality, steering = (table(done, name, "data/concepts/dictionaries") for name in ("quality", "steering"))
    own = quality[quality["model"] == quality["on"]]
    assert {"random", "teacher", "causal", "flat", "untrained", "directions", "probe"} == set(own["variant"])
    assert len(own[(own["measure"] == "explained") & (own["variant"] == "teacher")]) == 4  # two seeds, two noises
    assert np.isfinite(quality[quality["measure"].isin(["explained", "ce_recovered_zero", "purity"])]["value"]).all()
    assert set(quality[quality["on"] == "two"]["model"]) == {"one", "two"}
    assert set(steering["level"]) == {"parent", "child"} and set(steering["chosen"]) == {"reads", "writes"}
    assert "untrained" not in set(steering["variant"])


def test_features_of_siblings_are_matched_with_the_references(done):
    features = table(done, "features", "data/concepts/dictionaries")
    assert {*features["one"], *features["other"]} == {"one", "two"}
    assert features["cosine"].between(-1, 1).all()


def test_metrics_hold_targets_and_no_absent_number(done):
    metrics = json.loads((done / "metrics/concepts.json").read_text(encoding="utf-8"))
    assert set(metrics["targets"]) == {"purity", "leakage", "unexplained"}
    assert {"one", "one_untrained", "two"} == set(metrics["gate"])
    assert "teacher_1" in metrics["autoencoders"]


def test_all_figures_are_drawn(done):
    drawn = sorted(path.stem for path in (done / "plots/concepts").glob("*.png"))
    assert drawn == ["angles", "curves", "gate", "hierarchy", "latents", "polytope", "quality", "shared", "vectors"]


def test_what_did_not_change_is_not_trained_again(inside):
    kept = {path: path.stat().st_mtime_ns for path in (inside / ".dvc/tmp/autoencoders").rglob("*.safetensors")}
    before = {path: path.read_bytes() for path in (inside / "data/concepts/autoencoders").rglob("*.safetensors")}
    params = small()
    params["autoencoders"]["variants"]["teacher"]["noise"] = [0.0, 2.0]
    write_params(inside, params)
    autoencode.main()
    new = {path.name for path in (inside / ".dvc/tmp/autoencoders").rglob("*.safetensors") if path not in kept}
    assert len(new) == 2 and all("noise2" in name for name in new)
    write_params(inside, small())
    autoencode.main()
    assert {path: path.read_bytes() for path in before} == before


def test_processes_that_share_the_work_change_nothing(inside, monkeypatch):
    before = table(inside, "quality", "data/concepts/dictionaries")
    monkeypatch.setenv("JOBS", "2")
    evaluate.main()
    pd.testing.assert_frame_equal(table(inside, "quality", "data/concepts/dictionaries"), before)


def test_an_autoencoder_of_another_configuration_is_refused(inside):
    params = small()
    params["autoencoders"]["learning_rate"] = 0.5
    write_params(inside, params)
    with pytest.raises(CheckpointError, match=r"learning_rate 0.003, expected 0.5"):
        evaluate.main()
    assert table(inside, "quality", "data/concepts/dictionaries") is not None


def test_a_missing_autoencoder_names_the_stage(inside):
    path = inside / "data/concepts/autoencoders/flat/one-noise0-seed0.safetensors"
    content = path.read_bytes()
    path.unlink()
    try:
        with pytest.raises(CheckpointError, match="dvc repro concepts-autoencode"):
            evaluate.main()
    finally:
        path.write_bytes(content)


def test_truncated_states_and_tables_are_named(inside):
    states = inside / "data/concepts/words/one/states.h5"
    content = states.read_bytes()
    states.write_bytes(content[: len(content) // 2])
    try:
        with pytest.raises(ConceptStateError, match=r"states\.h5 is truncated, damaged, or not the words"):
            concepts.main()
    finally:
        states.write_bytes(content)
    gate = inside / TABLES / "gate.parquet"
    content = gate.read_bytes()
    gate.write_bytes(content[:100])
    try:
        with pytest.raises(TableError, match=r"gate\.parquet is truncated, damaged, or not a table"):
            plot_concepts.main()
    finally:
        gate.write_bytes(content)


def test_autoencoders_of_a_sibling_are_refused(inside):
    params = small()
    params["autoencoders"]["model"] = "two"
    write_params(inside, params)
    with pytest.raises(ParamsError, match="'two' is no reference of the study: expected one of one"):
        autoencode.main()


def test_a_teacher_of_more_kinds_than_parents_is_refused_and_loses_nothing(inside):
    params = small()
    params["autoencoders"]["parents"] = 3
    write_params(inside, params)
    with pytest.raises(ValueError, match="a teacher of 4 kinds"):
        autoencode.main()
    assert (inside / "data/concepts/autoencoders/curves.csv").is_file()


def test_words_of_several_tokens_are_refused_or_left_out(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    params = prepare(tmp_path)
    write_hierarchy(tmp_path, WORDS | {"unknown": "bird"})
    with pytest.raises(OntologyError, match=r"1 words are no single token of this tokenizer, e\.g\. unknown"):
        extract.main("one", "one")
    assert not (tmp_path / "data/concepts/words/one").exists()
    params["concepts"]["ontology"]["multi_token"] = "leave_out"
    write_params(tmp_path, params)
    extract.main("one", "one")
    from stages.concepts.state_files import read_words

    header = read_words(tmp_path / "data/concepts/words/one/states.h5").header
    assert header.left_out == ["unknown"] and header.words == list(WORDS)


@pytest.mark.parametrize("family", ["gpt2", "gpt_neox", "gemma2", "gemma3_text", "olmo2", "olmo3", "qwen3"])
def test_every_family_is_read_intervened_on_and_autoencoded(family, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JOBS", "1")
    params = prepare(tmp_path, family)
    params["autoencoders"] |= {"variants": {name: VARIANTS[name] | {"noise": [0.0]} for name in ("random", "teacher")}}
    params["autoencoders"]["comparisons"] = {"teacher_start": {"more": "teacher", "less": "random"}}
    params["autoencoders"]["steps"] = 2
    write_params(tmp_path, params)
    for name in ("one", "two"):
        extract.main(name, "one")
    autoencode.main()
    evaluate.main()
    concepts.main()
    assert json.loads((tmp_path / "metrics/concepts.json").read_text(encoding="utf-8"))["transfer_ce_recovered"]["two"]


def test_without_any_model_the_study_is_empty_and_says_so(tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    params = prepare(tmp_path)
    params["concepts"]["models"] = {}
    write_params(tmp_path, params)
    for stage in (autoencode, evaluate, concepts, plot_concepts):
        stage.main()
    assert "nothing to read concepts of" in caplog.text
    assert json.loads((tmp_path / "metrics/concepts.json").read_text(encoding="utf-8")) == {}
    assert len(list((tmp_path / "plots/concepts").glob("*.png"))) == 9


@pytest.mark.parametrize("source", ["organisms", "file"])
def test_a_hierarchy_is_prepared_from_each_source_that_needs_no_network(source, tmp_path, monkeypatch):
    from tests.support.project import ROOT

    monkeypatch.chdir(tmp_path)
    params = small()
    params["concepts"]["ontology"] |= {"source": source, "file": str(ROOT / "data/registry/kinds.xml")}
    write_params(tmp_path, params)
    prepare_concepts.main()
    content = json.loads((tmp_path / "data/concepts/words/hierarchy.json").read_text(encoding="utf-8"))
    assert any(row["held_out"] for row in content["words"]) and len(content["words"]) > 100
