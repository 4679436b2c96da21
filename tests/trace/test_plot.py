"""The stage that draws the figures of traced training: what it reads, and what it writes."""

import pytest
import yaml

from stages.trace import plot as plot_trace
from stages.trace import summarise as phases
from stages.trace.figures.inputs import TraceFigureError
from tests.support import trace_study as study
from tests.support.project import ROOT

PARAMS = ROOT / "params.yaml"
FIGURES = {"course", "axes", "spectra", "views", "layers", "memorization", "rarefaction"}
OF_PHASES = {"phases", "directions", "correlations", "support", "relations"}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write_params(folder, organisms):
    params = yaml.safe_load(PARAMS.read_text())
    params["study"]["seeds"] = [0]
    params["trace"] |= {"organisms": organisms, "runs": []}
    params["phases"] |= {"draws": 200, "half_samples": 12}
    (folder / "params.yaml").write_text(yaml.safe_dump(params))


def written(folder, kind):
    return {path.stem for path in (folder / "plots/trace").glob(f"*.{kind}")}


def test_every_figure_and_the_table_behind_it(folder):
    study.write_organisms(folder)
    write_params(folder, list(study.PARENTS))
    phases.main()
    plot_trace.main()
    assert written(folder, "png") == FIGURES
    assert written(folder, "csv") == FIGURES | OF_PHASES
    first = {path.name: path.read_bytes() for path in (folder / "plots/trace").iterdir()}
    assert max(map(len, first.values())) < 150_000
    plot_trace.main()
    assert {path.name: path.read_bytes() for path in (folder / "plots/trace").iterdir()} == first


def test_a_recipe_that_is_no_longer_traced_leaves_nothing_behind(folder):
    study.write_organisms(folder)
    write_params(folder, ["base", "rl_zero"])  # the files of the others stay
    phases.main()
    plot_trace.main()
    assert not any("sft" in path.read_text() for path in (folder / "plots/trace").glob("*.csv"))


def test_a_study_without_traced_runs_writes_all_the_same(folder):
    write_params(folder, [])
    phases.main()
    plot_trace.main()
    assert written(folder, "png") == FIGURES


def test_tables_of_the_stage_before_are_asked_for(folder):
    study.write_organisms(folder)
    write_params(folder, ["base"])
    with pytest.raises(TraceFigureError, match="run `dvc repro trace-summarise`"):
        plot_trace.main()
