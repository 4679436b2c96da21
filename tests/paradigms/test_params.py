"""The group `perturb`: what cannot run is refused by name, with the fix."""

import pytest
import yaml

from stages.paradigms.params import PerturbParams, perturbed_models
from stages.shared.params import ParamsError, load
from stages.shared.study import Study
from tests.shared.test_study import SOUND as STUDY

SOUND = {
    "organisms": ["sft"], "like": "rl_zero", "models": {"big-sft": {"reference": "big", "like": "big-rl"}},
    "draws": 4, "prompts": 40, "half_samples": 6, "interpolation": [0.5], "seed": 0,
}  # fmt: skip


def perturb(tmp_path, **changes):
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump({"study": STUDY, "perturb": {**SOUND, **changes}}))
    return load("perturb", PerturbParams, path)


def test_models_are_those_of_every_family_and_of_the_hub(tmp_path):
    found = perturb(tmp_path)
    assert perturbed_models(found, load("study", Study, tmp_path / "params.yaml")) == ["sft-s0", "sft-s1", "big-sft"]


@pytest.mark.parametrize(("changes", "message"), [
    ({"organisms": ["sfft"]}, "perturb.organisms: .*'sfft': did you mean 'sft'"),
    ({"organisms": ["base"]}, "the base is the reference of all, it has no update"),
    ({"organisms": ["sft", "sft"]}, "every one may stand only once"),
    ({"like": "rlzero"}, "perturb.like: .*did you mean 'rl_zero'"),
    ({"models": {"big": {"reference": "big", "like": "big"}}}, "models.big: it is its own reference, .*remove it"),
    ({"models": {"big-sft": {"reference": "big"}}}, "perturb.models.big-sft.like: Field required"),
    ({"draws": -1}, r"perturb.draws: .*greater than or equal to 1 \(found -1\)"),
    ({"draws": 0}, "perturb.draws"),
    ({"interpolation": [1.5]}, "perturb.interpolation.0: .*less than or equal to 1"),
    ({"prompts": 7}, "perturb.prompts"),
])  # fmt: skip
def test_bad_values_are_named(tmp_path, changes, message):
    with pytest.raises(ParamsError, match=message):
        perturb(tmp_path, **changes)
