"""The plotting stage: its inputs, its outputs, and what it leaves alone."""

import hashlib

import pandas as pd
import pytest

from stages.paradigms import plot
from stages.paradigms.figures.inputs import PlotError
from stages.shared.tables import TableError
from tests.support import paradigm_study as study

FIGURES = {
    "preservation", "effective_rank", "spectra", "displacement", "training", "hypotheses", "scores", "rarefaction",
    "sensitivity", "weights",
}  # fmt: skip
TABLES = FIGURES - {"hypotheses"} | {"accuracy", "update_size"}
FEW = ("base", "sft", "rl_zero")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def digests(folder):
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted((folder / "plots").iterdir())
        if path.is_file()
    }


def test_all_figures_of_the_default_study_small_and_twice_the_same(folder):
    study.write_study(folder)
    plot.main()
    first = digests(folder)
    assert set(first) == {f"{name}.png" for name in FIGURES} | {f"{name}.csv" for name in TABLES | {"hypotheses"}}
    sizes = [path.stat().st_size for path in (folder / "plots").iterdir()]
    assert max(sizes) < 150_000 and sum(sizes) < 1_500_000
    plot.main()
    assert digests(folder) == first
    for name in TABLES:
        assert_tidy(folder / "plots" / f"{name}.csv")


def assert_tidy(path):
    """Six significant digits and unix line ends."""
    content = path.read_bytes()
    assert b"\r" not in content and content.endswith(b"\n")
    for name, column in pd.read_csv(path).select_dtypes("float").items():
        assert all(float(f"{value:.6g}") == value for value in column.dropna()), (path, name)


def test_a_model_dropped_from_the_study_leaves_no_trace(folder):
    study.write_study(folder, FEW)
    plot.main()
    study.write_params(folder, ("base", "rl_zero"))  # the files of sft stay
    plot.main()
    for name in TABLES:
        table = pd.read_csv(folder / "plots" / f"{name}.csv")
        assert "rl_zero" in set(table["recipe"])
        assert "sft" not in set(table["recipe"])


def test_models_from_the_hub_have_no_training(folder):
    study.write_study(folder, recipes=(), seeds=(), models=("some-base", "some-chat"))
    plot.main()
    assert set(pd.read_csv(folder / "plots/preservation.csv")["model"]) == {"some-chat"}
    assert pd.read_csv(folder / "plots/training.csv").empty
    assert (folder / "plots/displacement.png").exists()


def test_several_families(folder):
    study.write_study(folder, FEW, seeds=(0, 1))
    plot.main()
    assert set(pd.read_csv(folder / "plots/displacement.csv")["model"]) == {
        "sft-s0",
        "sft-s1",
        "rl_zero-s0",
        "rl_zero-s1",
    }


@pytest.mark.parametrize(
    ("path", "stage", "error"),
    [
        ("data/records/sft-s0/records.parquet", "measure@sft-0", TableError),
        ("data/records/sft-s0/spectra.parquet", "measure@sft-0", TableError),
        ("data/probes/sft-s0/sensitivity.parquet", "probe@sft-0", TableError),
        ("data/probes/sft-s0/weights.parquet", "probe@sft-0", TableError),
        ("data/probes/perturbed/sft-s0/points.parquet", "dvc repro perturb@sft-0", TableError),
        ("metrics/train/sft-s0.json", "dvc repro sft", TableError),
        ("plots/train/rl_zero-s0.csv", "dvc repro rl_zero", PlotError),
        ("plots/hypotheses.csv", "dvc repro test", PlotError),
    ],
)
def test_a_missing_file_names_itself_and_its_stage_and_nothing_is_written(folder, path, stage, error):
    study.write_study(folder, FEW)
    (folder / path).unlink()
    with pytest.raises(error) as raised:
        plot.main()
    assert path in str(raised.value) and stage in str(raised.value)
    assert not list((folder / "plots").glob("*.png"))
