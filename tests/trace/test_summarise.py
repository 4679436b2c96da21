"""The phases stage on a synthetic study: planted collapse and growth are found, directions and their errors are right."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
import yaml

from stages.shared.tables import TableError
from stages.trace import summarise as phases
from stages.trace.lineage import read_courses
from stages.trace.params import Headline, Ngrams, Trace
from stages.trace.phases import change_directions
from stages.trace.series import read_series
from stages.trace.tables import TRACE_TABLES
from tests.support import trace_study
from tests.support.damage import rewrite_table
from tests.support.project import ROOT

HEADLINE = Headline(site="final_norm", level="token")


def project(folder, monkeypatch, seeds=(0,), **trace):
    monkeypatch.chdir(folder)
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    params["study"]["seeds"] = list(seeds)
    params["trace"] |= trace
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    trace_study.write_organisms(folder, seeds)


def metrics():
    return json.loads(open("metrics/trace.json").read())


def test_the_planted_course_is_found(tmp_path, monkeypatch):
    project(tmp_path, monkeypatch)
    phases.main()
    found = metrics()["phases"]["base"]
    stretches = found["final_norm"]["stretches"].values()
    assert [label.partition(",")[0] for label in stretches] == ["warm-up collapse", "entropy-seeking"]
    assert list(found["final_norm"]["turns"]) == ["1_minimum"] and found["final_norm"]["p"] < 0.01
    assert found["scope"].startswith("local: one run")
    table = pd.read_csv("plots/trace/phases.csv")
    assert set(table["site"]) == {"final_norm", "resid_post"}
    assert set(metrics()["directions"]) == {"sft", "rl_zero", "think"}
    assert metrics()["memorization"]["base"]["rho_arbitrary"] > 0.5


def test_families_give_intervals_over_families(tmp_path, monkeypatch):
    project(tmp_path, monkeypatch, seeds=(0, 1, 2))
    phases.main()
    assert metrics()["phases"]["base"]["scope"] == "3 families, intervals over families"
    series = read_series(["base-s0", "base-s1", "base-s2"], tmp_path / "data/trace/runs", HEADLINE)
    alone = [read_series([f"base-s{seed}"], tmp_path / "data/trace/runs", HEADLINE) for seed in (0, 1, 2)]
    values = np.stack([one.ln_rankme for one in alone])
    np.testing.assert_allclose(series.ln_rankme, values.mean(0))
    error = np.sqrt((series.ln_rankme_deviations**2).mean(0))
    np.testing.assert_allclose(error, values.std(0, ddof=1) / np.sqrt(3), rtol=1e-9, atol=1e-15)


def test_relations_of_a_family_are_those_of_its_own_steps(tmp_path, monkeypatch):
    """Last steps differ between families: read at the steps of their mean, a checkpoint would have no likelihood."""
    project(tmp_path, monkeypatch, seeds=(0, 1))
    folder = tmp_path / "data/trace/runs/base-s1"
    last = int(TRACE_TABLES.read(folder, "checkpoints")["step"].max())
    for name in TRACE_TABLES.columns:
        path = folder / f"{name}.parquet"
        rewrite_table(path, lambda table: table.assign(step=table["step"].replace(last, last + 2)))
    phases.main()
    relations = pd.read_csv("plots/trace/relations.csv")
    assert set(relations["run"]) >= {"base-s0", "base-s1"} and relations["rho"].notna().all()


def test_a_root_of_one_checkpoint_has_no_phases_and_stops_nothing(tmp_path, monkeypatch, caplog):
    project(tmp_path, monkeypatch)
    folder = tmp_path / "data/trace/runs/base-s0"
    rewrite_table(folder / "checkpoints.parquet", lambda table: table.tail(1))
    phases.main()
    assert "base is one checkpoint" in caplog.text and metrics()["phases"] == {}
    assert set(metrics()["directions"]) == {"sft", "rl_zero", "think"}


def test_families_with_other_checkpoints_are_not_averaged(tmp_path, monkeypatch):
    project(tmp_path, monkeypatch, seeds=(0, 1))
    folder = tmp_path / "data/trace/runs/base-s1"
    rewrite_table(
        folder / "checkpoints.parquet",
        lambda table: table.assign(missing=table["missing"].where(table.index != 3, "lost")),
    )
    with pytest.raises(TableError, match="unlike checkpoints"):
        phases.main()


def test_other_tokens_than_the_parents_are_refused(tmp_path, monkeypatch):
    project(tmp_path, monkeypatch)
    one, other = (read_series([run], tmp_path / "data/trace/runs", HEADLINE) for run in ("sft-s0", "base-s0"))
    assert set(change_directions(one, other, 0.95)) == {"ln_rankme", "alpha"}
    with pytest.raises(TableError, match="shown other tokens"):
        change_directions(one, other._replace(token_hash="another"), 0.95)


def test_few_checkpoints_make_no_phases(tmp_path, monkeypatch):
    project(tmp_path, monkeypatch)
    folder = tmp_path / "data/trace/runs/base-s0"
    rewrite_table(folder / "checkpoints.parquet", lambda table: table.head(5))
    with pytest.raises(TableError, match="5 checkpoints, phases need 8: raise trace.checkpoints"):
        phases.main()


def test_a_missing_run_or_corpus_names_its_stage(tmp_path, monkeypatch):
    project(tmp_path, monkeypatch)
    shutil.move(tmp_path / "data/trace/ngrams/base-s0.parquet", tmp_path / "away")
    with pytest.raises(TableError, match="rebuild it with `dvc repro trace-count@base-0`"):
        phases.main()
    assert not (tmp_path / "metrics/trace.json").exists()
    shutil.rmtree(tmp_path / "data/trace/runs/think-s0")
    with pytest.raises(TableError, match="dvc repro trace-follow@think-0"):
        phases.main()


def test_failed_and_repeated_checkpoints_are_counted(tmp_path, monkeypatch):
    project(tmp_path, monkeypatch)
    folder = tmp_path / "data/trace/runs/base-s0"
    table = TRACE_TABLES.read(folder, "checkpoints")
    table.loc[2, "missing"], table.loc[4, "same_as"] = "ModelError: gone", table.loc[3, "step"]
    rewrite_table(folder / "checkpoints.parquet", lambda _: table)
    phases.main()
    final = metrics()["final"]["base"]
    assert (final["failed_checkpoints"], final["repeated_weights"]) == (1, 1)


def test_nothing_traced_is_empty_tables_with_headers(tmp_path, monkeypatch):
    project(tmp_path, monkeypatch, organisms=[])
    phases.main()
    assert metrics() == {"directions": {}, "final": {}, "memorization": {}, "phases": {}}
    for name in ("phases", "directions", "correlations", "support", "relations"):
        assert len(pd.read_csv(f"plots/trace/{name}.csv").columns) > 5


def test_lines_name_parents_and_the_corpora_that_are_looked_into(tmp_path, monkeypatch):
    project(tmp_path, monkeypatch)
    monkeypatch.chdir(ROOT)
    raw = yaml.safe_load((ROOT / "params.yaml").read_text())
    trace = Trace(**raw["trace"] | {"runs": ["olmo3-7b-rl-zero-math", "pythia-14m"]})
    parents = {"base": None, "sft": "base", "rl_zero": "base", "think": "sft"}
    found = {line.name: line for line in read_courses(trace, [0, 1], parents, Ngrams(**raw["ngrams"]))}
    assert found["base"].corpora == ("base-s0", "base-s1") and found["sft"].parent == "base"
    assert found["pythia-14m"].parent is None and found["pythia-14m"].corpora == ()
    assert found["olmo3-7b-rl-zero-math"].parent is not None
    with_pile = Ngrams(**raw["ngrams"] | {"corpora": {"pile": {"index": "v4_piletrain_llama"}}})
    assert {line.name: line for line in read_courses(trace, [], parents, with_pile)}["pythia-14m"].corpora == ("pile",)
