"""The stage that draws the figures of the drift study: what it reads, writes and shows."""

import numpy as np
import pandas as pd
import pytest
import yaml

from stages.drift import measure as drift
from stages.drift import plot as plot_drift
from stages.drift.figures.inputs import DriftFigureError
from stages.shared.tables import TableError
from tests.support import drift_study as study

FIGURES = {"curve", "models", "layers", "checkpoints", "distances", "profile", "norms", "bases", "transitions"}
TABLES = FIGURES | {"course"}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JOBS", "1")
    study.project(tmp_path)
    return tmp_path


def run():
    drift.main()
    plot_drift.main()


def written(folder, kind):
    return {path.stem: path.read_bytes() for path in (folder / "plots/drift").glob(f"*.{kind}")}


def table(name):
    return pd.read_csv(f"plots/drift/{name}.csv")


def test_every_figure_and_the_table_behind_it(folder):
    run()
    first = written(folder, "png") | written(folder, "csv")
    assert set(written(folder, "png")) == FIGURES and set(written(folder, "csv")) == TABLES
    assert max(map(len, first.values())) < 150_000
    plot_drift.main()
    assert written(folder, "png") | written(folder, "csv") == first


def test_tables_hold_the_planted_steps(folder):
    run()
    curve = table("curve").query("line == 'base' and series == 'w2'")
    np.testing.assert_allclose(curve["value"], study.STEPS, rtol=1e-3)
    assert (curve["low"] <= curve["value"]).all() and (curve["value"] <= curve["high"]).all()
    np.testing.assert_allclose(table("curve").query("series == 'untrained'")["value"], 4 * study.STEPS, rtol=1e-3)
    np.testing.assert_allclose(table("models").query("series == 'w2'")["value"], study.MOVED, rtol=1e-3)
    np.testing.assert_allclose(table("checkpoints")["value"], 0.1, rtol=1e-3)
    layers = table("layers")
    np.testing.assert_allclose(layers.query("line == 'sft'")["change"], 0, atol=1e-4)
    np.testing.assert_allclose(table("distances")["identity_cost"], table("distances")["w2"], rtol=1e-3)
    assert set(table("bases")["basis"]) == {"raw", "unit", "shared_pca", "shared_pca_unit"}
    relative = table("bases").groupby(["line", "kind", "basis"])["relative"].mean()
    np.testing.assert_allclose(relative, 1, rtol=1e-4)
    norms = table("norms")
    assert set(norms["tokens"]) == {"content", "with_sinks"} and set(norms["measure"]) == {"norm_mean", "norm_maximum"}


def test_one_model_without_sibling_checkpoints_or_untrained_state(folder):
    study.project(folder, organisms=["base"])
    study.write(folder / "data/drift/samples", "base-s0", states=False)
    run()
    assert set(written(folder, "png")) == FIGURES
    assert table("models").empty and table("checkpoints").empty
    assert "untrained" not in set(table("curve")["series"])


def test_a_sibling_of_other_tokens_is_drawn_by_itself(folder):
    content = yaml.safe_load((folder / "params.yaml").read_text())
    content["measure"]["unlike"] = ["prompt_format"]
    (folder / "params.yaml").write_text(yaml.safe_dump(content))
    study.write(folder / "data/drift/samples", "sft-s0", moved=1.0, token_hash="chat")
    run()
    assert table("models").empty and set(table("curve").query("series == 'w2'")["line"]) == {"base", "sft"}


def test_several_families_are_averaged(folder):
    content = yaml.safe_load((folder / "params.yaml").read_text())
    content["study"]["seeds"] = [0, 1]
    (folder / "params.yaml").write_text(yaml.safe_dump(content))
    for model, moved in (("base-s1", 0.0), ("sft-s1", 3 * study.MOVED)):
        study.write(folder / "data/drift/samples", model, seed=7, moved=moved)
    run()
    np.testing.assert_allclose(table("models").query("series == 'w2'")["value"], 2 * study.MOVED, rtol=1e-3)
    assert set(table("curve").query("series == 'w2'")["line"]) == {"base", "sft"}


def test_what_is_missing_is_named_with_its_stage(folder):
    with pytest.raises(TableError, match="records.parquet not found; rebuild it with `dvc repro drift-measure`"):
        plot_drift.main()
    drift.main()
    (folder / "plots/drift/course.csv").unlink()
    with pytest.raises(DriftFigureError, match="course.csv not found: run `dvc repro drift-measure`"):
        plot_drift.main()
