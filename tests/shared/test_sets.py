"""The named sets of params.yaml, put in place the way `dvc exp run -S` does it."""

import shutil

import pytest
import yaml
from dvc.utils.hydra import apply_overrides

from stages.concepts.params import Concepts
from stages.models.registry import load_entry
from stages.paradigms.params import Hypotheses, PerturbParams
from stages.shared.params import load
from stages.shared.study import Study, all_models
from tests.support.project import ROOT

RAW = yaml.safe_load((ROOT / "params.yaml").read_text())["sets"]
SETS = [name for name in RAW if "study" in RAW[name]]


@pytest.fixture(params=SETS)
def overridden(request, tmp_path):
    """params.yaml after the two overrides that choose a set."""
    path = shutil.copy(ROOT / "params.yaml", tmp_path / "params.yaml")
    name = request.param
    chosen = [f"study=${{sets.{name}.study}}", f"hypotheses.declared=${{sets.{name}.declared}}"]
    apply_overrides(path, [*chosen, "collect.precision=bfloat16", "collect.prompts=164"])
    return path


def test_every_model_is_registered_with_the_reference_of_the_set(overridden):
    for slug, reference in load("study", Study, overridden).models.items():
        assert load_entry(slug, ROOT / "data/registry/models.yaml").reference == reference


def test_hypotheses_name_models_of_the_set_with_one_reference(overridden):
    models = all_models(load("study", Study, overridden))
    for hypothesis in load("hypotheses", Hypotheses, overridden).declared:
        assert models[hypothesis.more] == models[hypothesis.less]


def test_nothing_else_changes(overridden):
    committed, found = (yaml.safe_load(path.read_text()) for path in (ROOT / "params.yaml", overridden))
    changed = {group for group in committed if committed[group] != found[group]}
    assert changed <= {"study", "hypotheses", "collect"}
    assert set(committed) == set(found)


@pytest.mark.parametrize("name", [name for name in SETS if "perturbed" in RAW[name]])
def test_random_updates_are_of_models_of_the_set_and_their_reference(name, tmp_path):
    path = shutil.copy(ROOT / "params.yaml", tmp_path / "params.yaml")
    apply_overrides(path, [f"study=${{sets.{name}.study}}", f"perturb.models=${{sets.{name}.perturbed}}"])
    models, perturbed = all_models(load("study", Study, path)), load("perturb", PerturbParams, path).models
    assert perturbed
    for slug, model in perturbed.items():
        assert models[slug] == model.reference == models[model.like] and slug != model.reference


def test_beginnings_in_english_take_the_place_of_the_organisms(tmp_path):
    path = shutil.copy(ROOT / "params.yaml", tmp_path / "params.yaml")
    apply_overrides(path, ["concepts.templates=${sets.english.templates}", "+concepts.models.gpt2=gpt2"])
    found = load("concepts", Concepts, path)
    assert found.templates == RAW["english"]["templates"] and found.models == {"gpt2": "gpt2"}
