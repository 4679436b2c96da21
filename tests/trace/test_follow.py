"""The trace stage on a tiny run: all tables, failures by name, reruns that compute what is missing, repeated weights."""

import json
import logging
import shutil

import pandas as pd
import pytest
import torch
import yaml

from stages.shared.tables import TableError
from stages.trace import checkpoints as following
from stages.trace import follow as trace
from stages.trace.checkpoints import TraceError
from stages.trace.tables import TRACE_TABLES, read_spectra
from tests.support.project import ROOT
from tests.support.tiny_models import tiny_model, tiny_tokenizer

STEPS = (0, 4, 16)


def save(folder, seed):
    model = tiny_model("olmo3")
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.05 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(seed)))
    model.save_pretrained(folder)


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A run of three checkpoints, its text, a task with answers and one with verified answers."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JOBS", "1")
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    params["trace"] |= {"sequences": 64, "length": 10, "blocks": 8, "tokens_per_batch": 100, "text": "mine"}
    params["trace"]["accuracy"] = {"prompts": 10, "new_tokens": 4}
    params["study"]["tasks"], params["ngrams"]["answers"] = ["sums"], ["known"]
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    for step in STEPS:
        save(tmp_path / f"data/models/base-s0/checkpoints/step-{step}", step)
    shutil.copytree(tmp_path / "data/models/base-s0/checkpoints/step-0", tmp_path / "own")
    for path in (tmp_path / "own").iterdir():
        shutil.copy(path, tmp_path / "data/models/base-s0" / path.name)
    tiny_tokenizer().save_pretrained(tmp_path / "data/models/base-s0")
    generator = torch.Generator().manual_seed(0)
    words = [f"w{int(i)}" for i in torch.randint(3, 40, (64 * 12,), generator=generator)]
    write(
        tmp_path / "data/trace/texts/mine.jsonl",
        [{"text": " ".join(words[i : i + 12])} for i in range(0, len(words), 12)],
    )
    rows = [{"id": f"k{i}", "prompt": f"w{3 + i} w5", "answer": f"w{9 + i}", "split": "train"} for i in range(12)]
    write(tmp_path / "data/tasks/known.jsonl", rows)
    write(tmp_path / "data/tasks/sums.jsonl", [row | {"split": "held_out"} for row in rows])
    return tmp_path


def write(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_all_tables_are_there(project):
    trace.main("base-s0")
    tables = {name: TRACE_TABLES.read(project / "data/trace/runs/base-s0", name) for name in TRACE_TABLES.columns}
    checkpoints = tables["checkpoints"]
    assert checkpoints["step"].tolist() == list(STEPS) and (checkpoints["missing"] == "").all()
    recipe = yaml.safe_load((ROOT / "params.yaml").read_text())["organisms"]["base"]
    assert checkpoints["tokens"].tolist() == [step * recipe["batch"] * recipe["row_tokens"] for step in STEPS]
    expected = 6.0 * checkpoints["parameters"].astype(float) * checkpoints["tokens"].astype(float)
    assert checkpoints["flops"].tolist() == expected.tolist()
    records = tables["records"]
    assert set(records["step"]) == set(STEPS) and set(records["level"]) == {"token", "all_positions", "last_token"}
    assert set(zip(records["site"], records["layer"], strict=True)) == {
        *(("resid_post", layer) for layer in range(3)), ("final_norm", 2)
    }  # fmt: skip
    with_interval = records[records["standard_error"].notna()]
    assert set(with_interval["layer"]) == {2} and set(with_interval["level"]) == {"token", "last_token"}
    assert (with_interval["low"] <= with_interval["value"]).all() and (records["null"].notna()).all()
    assert tables["answers"].groupby("step")["id"].nunique().tolist() == [12] * 3
    assert (tables["answers"]["log_likelihood"] < 0).all()
    assert tables["accuracy"]["prompts"].tolist() == [10] * 3
    spectra = read_spectra(project / "data/trace/runs/base-s0", "token", "resid_post")
    assert set(spectra["layer"]) == {0, 1, 2} and set(spectra["step"]) == set(STEPS) and spectra["rank"].max() == 16


def test_two_runs_give_the_same_bytes_whatever_the_jobs(project, monkeypatch):
    trace.main("base-s0")
    before = {path.name: path.read_bytes() for path in (project / "data/trace/runs/base-s0").iterdir()}
    shutil.rmtree(project / ".dvc/tmp/trace")
    monkeypatch.setenv("JOBS", "2")
    trace.main("base-s0")
    assert before == {path.name: path.read_bytes() for path in (project / "data/trace/runs/base-s0").iterdir()}


def test_one_failing_checkpoint_is_named_and_costs_no_other(project, monkeypatch):
    broken = project / "data/models/base-s0/checkpoints/step-4/model.safetensors"
    whole = broken.read_bytes()
    broken.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(TraceError, match="1 checkpoints failed") as error:
        trace.main("base-s0")
    assert "step 4: ModelError" in str(error.value)
    checkpoints = TRACE_TABLES.read(project / "data/trace/runs/base-s0", "checkpoints").set_index("step")
    assert checkpoints["missing"].str.startswith("ModelError").tolist() == [False, True, False]
    records = TRACE_TABLES.read(project / "data/trace/runs/base-s0", "records")
    assert set(records["step"]) == {0, 16}

    broken.write_bytes(whole)
    computed = []
    real = following.measure_checkpoint
    monkeypatch.setattr(
        following, "measure_checkpoint", lambda checkpoint, *rest: (computed.append(checkpoint.folder.name), real(checkpoint, *rest))[1]
    )  # fmt: skip
    trace.main("base-s0")
    assert computed == ["step-4"]  # the others were kept
    assert (TRACE_TABLES.read(project / "data/trace/runs/base-s0", "checkpoints")["missing"] == "").all()


def test_a_run_of_which_nothing_succeeds_leaves_no_tables(project):
    for step in STEPS:
        path = project / f"data/models/base-s0/checkpoints/step-{step}/model.safetensors"
        path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(TraceError, match="3 checkpoints failed"):
        trace.main("base-s0")
    assert not (project / "data/trace/runs").exists()


def test_another_text_or_param_takes_no_older_result(project, monkeypatch):
    trace.main("base-s0")
    computed = []
    real = following.measure_checkpoint
    monkeypatch.setattr(following, "measure_checkpoint", lambda *args: (computed.append(1), real(*args))[1])
    trace.main("base-s0")
    assert not computed
    lines = (project / "data/trace/texts/mine.jsonl").read_text().splitlines()
    (project / "data/trace/texts/mine.jsonl").write_text("\n".join(lines[::-1]))
    trace.main("base-s0")
    assert len(computed) == 3


def test_the_same_weights_under_two_names_are_reported(project, caplog):
    folder = project / "data/models/base-s0/checkpoints"
    shutil.rmtree(folder / "step-16")
    shutil.copytree(folder / "step-4", folder / "step-16")
    with caplog.at_level(logging.WARNING):
        trace.main("base-s0")
    assert "step-16 has the same weights as step 4" in caplog.text
    assert TRACE_TABLES.read(project / "data/trace/runs/base-s0", "checkpoints")["same_as"].tolist() == [
        pd.NA,
        pd.NA,
        4,
    ]


def test_a_subset_keeps_the_first_and_the_last(project):
    params = yaml.safe_load((project / "params.yaml").read_text())
    params["trace"]["checkpoints"] = 2
    (project / "params.yaml").write_text(yaml.safe_dump(params))
    trace.main("base-s0")
    assert TRACE_TABLES.read(project / "data/trace/runs/base-s0", "checkpoints")["step"].tolist() == [0, 16]


def test_accuracy_can_be_left_out(project):
    params = yaml.safe_load((project / "params.yaml").read_text())
    params["trace"]["accuracy"] = None
    (project / "params.yaml").write_text(yaml.safe_dump(params))
    trace.main("base-s0")
    assert TRACE_TABLES.read(project / "data/trace/runs/base-s0", "accuracy").empty


def test_a_missing_text_names_its_stage(project):
    (project / "data/trace/texts/mine.jsonl").unlink()
    with pytest.raises(ValueError, match="dvc repro trace-prepare"):
        trace.main("base-s0")


def test_a_text_that_was_cut_off_names_the_line(project):
    path = project / "data/trace/texts/mine.jsonl"
    path.write_text(path.read_text()[:-20])
    with pytest.raises(
        ValueError, match="mine.jsonl, line 64 is not JSON .*expected an object with the key text.*dvc checkout"
    ):
        trace.main("base-s0")


def test_too_little_text_names_the_fix(project):
    path = project / "data/trace/texts/mine.jsonl"
    path.write_text("\n".join(path.read_text().splitlines()[:20]))
    with pytest.raises(ValueError, match="gives 20 sequences of 10 tokens, 64 asked for"):
        trace.main("base-s0")


def test_missing_or_damaged_tables_name_their_stage(project):
    with pytest.raises(TableError, match="dvc repro trace-follow@base-0"):
        TRACE_TABLES.read(project / "data/trace/runs/base-s0", "records")
    trace.main("base-s0")
    path = project / "data/trace/runs/base-s0/records.parquet"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(TableError, match="is truncated, damaged, or not a table of a traced run"):
        TRACE_TABLES.read(project / "data/trace/runs/base-s0", "records")
    spectra = project / "data/trace/runs/base-s0/spectra.h5"
    spectra.write_bytes(spectra.read_bytes()[:100])
    with pytest.raises(TableError, match="or not the spectra of"):
        read_spectra(project / "data/trace/runs/base-s0", "token", "resid_post")
