"""The committed group `drift` loads; numbers of no use are refused at their bounds, and what is needed may not be left out."""

import pytest
import yaml

from stages.drift.params import BASES, Drift, load_scope
from stages.shared.params import ParamsError, load
from tests.support import drift_study as study
from tests.support.project import ROOT


def drift(tmp_path, group):
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump({"drift": group}))
    return load("drift", Drift, path)


def test_the_committed_group_loads_as_it_is_written(monkeypatch):
    monkeypatch.chdir(ROOT)
    assert load("drift", Drift).model_dump() == study.COMMITTED["drift"]
    scope = load_scope()
    assert scope.tasks == [*study.COMMITTED["study"]["tasks"], *study.COMMITTED["study"]["benchmarks"]]
    assert (scope.seeds, scope.models) == (study.COMMITTED["study"]["seeds"], study.COMMITTED["study"]["models"])


@pytest.mark.parametrize(("name", "allowed", "refused"), [
    ("prompts", 16, 8),
    ("tokens_per_prompt", 1, 0),
    ("checkpoints", 2, 1),
    ("blocks", 8, 4),
    ("components", 2, 1),
    ("regularisation", 1e-6, -0.1),
    ("projections", 10, 9),
    ("gromov_rows", 10, 9),
    ("noise", 0.99, 1),
    ("draws", 20, 19),
    ("confidence", 0.51, 0.5),
    ("confidence", 0.99, 1),
    ("seed", 0, 0.5),
])  # fmt: skip
def test_a_number_is_taken_at_its_bound_and_refused_beyond_by_name(tmp_path, name, allowed, refused):
    group = study.SMALL | {"prompts": 16, "blocks": 8}
    assert getattr(drift(tmp_path, group | {name: allowed}), name) == allowed
    with pytest.raises(ParamsError, match=name):
        drift(tmp_path, group | {name: refused})


@pytest.mark.parametrize("basis", BASES)
def test_every_basis_may_be_the_headlines(tmp_path, basis):
    assert drift(tmp_path, study.SMALL | {"basis": basis}).basis == basis


def test_no_organisms_and_no_gromov_rows_are_choices(tmp_path):
    found = drift(tmp_path, study.SMALL | {"organisms": [], "runs": ["pythia-14m"], "gromov_rows": None})
    assert (found.organisms, found.runs, found.gromov_rows) == ([], ["pythia-14m"], None)


def test_a_run_named_twice_is_shown(tmp_path):
    with pytest.raises(ParamsError, match=r"runs \['a', 'a'\]: every one may stand only once"):
        drift(tmp_path, study.SMALL | {"runs": ["a", "a"]})


@pytest.mark.parametrize("name", study.SMALL)
def test_nothing_has_a_silent_default(tmp_path, name):
    with pytest.raises(ParamsError, match=name):
        drift(tmp_path, {key: value for key, value in study.SMALL.items() if key != name})
