"""The drift stage on samples that do not belong together: said before any work, and what was there stays."""

import json

import numpy as np
import pandas as pd
import pytest
import yaml

from stages.drift import measure as drift
from stages.drift.sample_files import SampleError, SampleHeader, write_samples
from stages.drift.tables import COLUMNS, DRIFT_TABLES
from tests.support import drift_study as study


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A project with results of two small models."""
    folder = tmp_path_factory.mktemp("project")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("JOBS", "1")
        study.project(folder)
        drift.main()
    return folder


@pytest.fixture
def project(made, monkeypatch):
    monkeypatch.chdir(made)
    monkeypatch.setenv("JOBS", "1")
    return made


def results(folder):
    return {
        path: path.read_bytes()
        for name in ("data/drift/records", "metrics", "plots")
        for path in (folder / name).rglob("*.*")
    }


def narrow(path):
    values = {task: study.values()[:, :, :5] for task in study.TASKS}
    rewrite(path, values, "float32")


def quantised(path):
    rewrite(path, {task: study.values() for task in study.TASKS}, "nf4")


def other_tokens(path):
    study.write(path.parent, "sft-s0", token_hash="others")


def one_task(path):
    rewrite(path, {"one": study.values()}, "float32")


def cut(path):
    path.write_bytes(path.read_bytes()[:-100])


def rewrite(path, values, precision):
    rows = dict.fromkeys(values, study.rows())
    write_samples(path, SampleHeader("sft-s0", precision, {}), rows, iter([(study.state("final", 1), values)]))


@pytest.mark.parametrize(("damage", "message"), [
    (narrow, r"base-s0.h5 and .*sft-s0.h5 have the shapes \(8, 96, 8\) and \(8, 96, 5\) of one"),
    (quantised, "base-s0.h5 was computed in float32, .*sft-s0.h5 in nf4"),
    (other_tokens, "base-s0.h5 and .*sft-s0.h5 hold other tokens of one: expected the reference's tokenizer"),
    (one_task, "sft-s0.h5 holds no tokens of two"),
    (cut, "sft-s0.h5 is truncated, damaged, or not the sampled tokens .*dvc repro drift"),
])  # fmt: skip
def test_a_sibling_that_cannot_be_compared_stops_before_any_work(project, monkeypatch, damage, message):
    first = results(project)
    path = project / "data/drift/samples/sft-s0.h5"
    content = path.read_bytes()
    damage(path)
    monkeypatch.setattr(drift, "measure_task", lambda *_: pytest.fail("work was begun"))
    try:
        with pytest.raises(SampleError, match=message):
            drift.main()
    finally:
        path.write_bytes(content)
    assert results(project) == first and len(first) == 7


def test_the_metrics_have_few_leaves_and_each_its_meaning(project):
    metrics = json.loads((project / "metrics/drift.json").read_text())
    assert set(metrics) == {"layers", "models", "rank_correlation_with_w2"}
    assert set(metrics["layers"]) == {"base", "sft"} and set(metrics["models"]) == {"sft"}
    for own in metrics["layers"].values():
        assert set(own) == {"w2_raw_mean", "course", "transitions"}
    assert set(metrics["models"]["sft"]) == {"w2_raw_mean", "late_share"}
    for own in metrics["models"]["sft"].values():
        assert set(own) == {"value", "low", "high"} and own["low"] <= own["value"] <= own["high"]
    assert set(metrics["rank_correlation_with_w2"]["base"]) == {"identity_cost", "all_cosine"}


def test_no_number_is_missing_without_a_reason_and_no_row_stands_twice(project):
    records = DRIFT_TABLES.read(project / "data/drift/records", "records")
    assert (records["value"].isna() == (records["missing"] != "")).all()
    numbers = {"value", "n", "resample_baseline", "standard_error", "low", "high", "missing"}
    key = [column for column in COLUMNS["records"] if column not in numbers]
    assert not records.duplicated(key).any()
    assert (records["n"] <= study.PROMPTS * study.PER_PROMPT).all()


def test_the_bounds_between_distances_hold_in_every_row(project):
    """sliced <= bures or w2, bures <= w2 <= identity; a ratio between 0 and 1."""
    records = DRIFT_TABLES.read(project / "data/drift/records", "records")
    place = ["kind", "model", "state", "other_state", "task", "point", "other_point", "basis", "tokens"]
    wide = records[records["measure"].isin(["w2", "bures_w2", "sliced_w2", "identity_cost", "identity_ratio"])]
    wide = wide.pivot(index=place, columns="measure", values="value")
    assert len(wide) > 300
    assert (wide["bures_w2"] <= wide["w2"] + 1e-6).all() and (wide["sliced_w2"] <= wide["w2"] + 1e-6).all()
    assert (wide["w2"] <= np.sqrt(wide["identity_cost"]) + 1e-6).all()
    ratio = wide["identity_ratio"].dropna()
    assert ((ratio > 0) & (ratio <= 1 + 1e-6)).all()


def test_w2_obeys_the_triangle_inequality_over_layers(project):
    records = DRIFT_TABLES.read(project / "data/drift/records", "records")
    own = records.query(
        "kind == 'layers' and state == 'final' and measure == 'w2' and basis == 'raw' and tokens == 'content' and task == 'one'"
    )
    apart = own[own["model"] == "base-s0"].pivot(index="point", columns="other_point", values="value")
    for i, j, k in ((0, 1, 2), (0, 3, 7), (2, 5, 6)):
        assert apart.loc[i, k] <= apart.loc[i, j] + apart.loc[j, k] + 1e-6


def test_what_does_not_change_a_task_does_not_change_its_rows(project, tmp_path, monkeypatch):
    """Without the other task, and without the sibling, the rows of the base are the same."""
    before = DRIFT_TABLES.read(project / "data/drift/records", "records").query("model == 'base-s0' and task == 'one'")
    monkeypatch.chdir(tmp_path)
    study.project(tmp_path, organisms=["base"])
    params = yaml.safe_load((tmp_path / "params.yaml").read_text())
    params["study"]["tasks"] = ["one"]
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    drift.main()
    after = DRIFT_TABLES.read(tmp_path / "data/drift/records", "records")
    pd.testing.assert_frame_equal(before.reset_index(drop=True), after.reset_index(drop=True))
