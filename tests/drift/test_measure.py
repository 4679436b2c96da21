"""The drift stage end to end on clouds with known steps."""

import json

import pandas as pd
import pytest
import yaml

from stages.drift import measure as drift
from stages.drift.sample_files import SampleError
from stages.shared.params import ParamsError
from tests.support import drift_study as study


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JOBS", "1")
    study.project(tmp_path)
    return tmp_path


def written(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for name in ("data/drift/records", "metrics", "plots")
        for path in (folder / name).rglob("*.*")
    }


def test_the_steps_are_found_and_a_second_run_repeats_every_byte_whatever_the_workers(project, monkeypatch):
    drift.main()
    metrics = json.loads((project / "metrics/drift.json").read_text())
    assert metrics["layers"]["base"]["w2_raw_mean"] == pytest.approx(study.STEPS.mean(), rel=1e-3)
    assert metrics["models"]["sft"]["w2_raw_mean"]["value"] == pytest.approx(study.MOVED, rel=1e-3)
    assert metrics["models"]["sft"]["late_share"]["value"] == pytest.approx(1 / 3, rel=1e-3)
    assert set(metrics["rank_correlation_with_w2"]) == {"base"}
    first = written(project)
    assert set(first) == {
        *(f"data/drift/records/{name}.parquet" for name in ("records", "deviations", "profile", "profile_deviations")),
        "metrics/drift.json", "plots/drift/course.csv", "plots/drift/transitions.csv",
    }  # fmt: skip
    monkeypatch.setenv("JOBS", "2")
    drift.main()
    assert written(project) == first


def test_models_of_another_study_leave_nothing_behind(project):
    drift.main()
    study.project(project, organisms=["base"])  # the samples of the sibling stay
    drift.main()
    assert set(pd.read_parquet("data/drift/records/records.parquet")["model"]) == {"base-s0"}
    assert json.loads((project / "metrics/drift.json").read_text())["models"] == {}


@pytest.mark.parametrize(("damage", "message"), [
    (lambda path: path.write_bytes(path.read_bytes()[:5000]), "sft-s0.h5 is no complete file of sampled tokens"),
    (lambda path: path.unlink(), "sft-s0.h5 not found; rebuild it with `dvc repro drift-measure`"),
])  # fmt: skip
def test_a_damaged_or_missing_input_stops_and_keeps_what_was_there(project, damage, message):
    drift.main()
    first = written(project)
    damage(project / "data/drift/samples/sft-s0.h5")
    with pytest.raises(SampleError, match=message):
        drift.main()
    assert written(project) == first


def test_a_study_of_nothing_says_what_to_name(project):
    params = yaml.safe_load((project / "params.yaml").read_text())
    params["study"]["seeds"] = []
    (project / "params.yaml").write_text(yaml.safe_dump(params))
    with pytest.raises(ParamsError, match="nothing to compare: name drift.organisms and study.seeds"):
        drift.main()


def test_a_sibling_that_did_not_move_is_said_not_to_have(project):
    study.write(project / "data/drift/samples", "sft-s0", moved=0.0)
    drift.main()
    found = json.loads((project / "metrics/drift.json").read_text())["models"]["sft"]
    assert found["late_share"] == {"missing": "nothing moved"} and found["w2_raw_mean"]["value"] == 0


def change(folder, group, **values):
    params = yaml.safe_load((folder / "params.yaml").read_text())
    params[group] |= values
    (folder / "params.yaml").write_text(yaml.safe_dump(params))


def test_other_tokens_are_compared_with_no_reference_where_that_is_allowed(project, caplog):
    study.write(project / "data/drift/samples", "sft-s0", token_hash="chat")
    with pytest.raises(SampleError, match="other tokens of one: .*one prompt format"):
        drift.main()
    change(project, "measure", unlike=["prompt_format"])
    drift.main()
    assert "sft-s0 reads other tokens than base-s0: not compared with it" in caplog.text
    metrics = json.loads((project / "metrics/drift.json").read_text())
    assert set(metrics["layers"]) == {"base", "sft"} and metrics["models"] == {}


@pytest.mark.parametrize(("group", "values", "message"), [
    ("drift", {"runs": ["base-s0"]}, "'base-s0' stands for two of drift.organisms, study.models and drift.runs"),
    ("study", {"models": {"mine": "yours"}}, "'yours', the reference of 'mine', is not sampled: name it in drift.organisms"),
])  # fmt: skip
def test_names_that_cannot_be_told_apart_or_found_are_refused_before_any_work(project, group, values, message):
    change(project, group, **values)
    with pytest.raises(ParamsError, match=message):
        drift.main()
    assert not (project / "data/drift/records").exists()


def test_an_error_of_a_cloud_names_model_and_task(project):
    from stages.drift import sample_files
    from stages.geometry.transport import TransportError

    values = study.values()
    values[3, 4] = 0  # a token of length 0 has no direction
    path = project / "data/drift/samples/base-s0.h5"
    shown = dict.fromkeys(study.TASKS, study.rows())
    states = iter([(study.state("final", 1), dict.fromkeys(study.TASKS, values))])
    sample_files.write_samples(path, sample_files.SampleHeader("base-s0", "float32", {}), shown, states)
    with pytest.raises(TransportError, match="base-s0, one: 1 of 64 rows are zero"):
        drift.main()
