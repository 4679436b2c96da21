"""The study's lists are checked against each other when they are loaded."""

import pytest
import yaml

from stages.shared.params import ParamsError, load
from stages.shared.study import Study, all_models, all_tasks, organism_models

SOUND = {
    "seeds": [0, 1],
    "organisms": ["base", "sft"],
    "models": {"big": "big", "big-sft": "big"},
    "tasks": ["logic"],
    "benchmarks": [],
}


def study(tmp_path, **changes):
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump({"study": {**SOUND, **changes}}))
    return load("study", Study, path)


def test_every_model_has_its_reference(tmp_path):
    found = study(tmp_path)
    assert organism_models(found) == {
        "base-s0": "base-s0",
        "sft-s0": "base-s0",
        "base-s1": "base-s1",
        "sft-s1": "base-s1",
    }
    assert all_models(found) == {**organism_models(found), "big": "big", "big-sft": "big"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"models": {"sft-s1": "base-s1"}}, "'sft-s1' is both an organism of this study and a model"),
        (
            {"organisms": ["base", "sftt"]},
            "unknown organism 'sftt': did you mean 'sft'.*allowed: base, sft, rl_zero, think, sft_matched",
        ),
        ({"organisms": ["sft"]}, "need 'base'"),
        ({"organisms": ["base", "base"]}, "organisms: base stands more than once"),
        ({"seeds": [0, 0]}, "seeds: 0 stands more than once"),
        ({"tasks": ["logic", "logic"]}, "tasks: logic stands more than once"),
        ({"tasks": []}, "nothing to feed to the models: name at least one task or benchmark"),
        ({"benchmarks": ["gsm8k", "gsm8k"]}, "benchmarks: gsm8k stands more than once"),
        ({"benchmarks": ["logic"]}, "'logic' stands in tasks and in benchmarks"),
        ({"models": {"tuned": "bigg"}}, "its reference 'bigg' is not in the study"),
        ({"models": {"a": "b", "b": "c", "c": "c"}}, "its reference 'b' has itself the reference 'c'"),
        ({"models": {"qwen-0.5b": "qwen-0.5b"}}, "a slug has letters, digits"),
        ({"organisms": [], "models": {}}, "nothing to study"),
        ({"sedes": [0]}, "unknown key study.sedes: did you mean 'seeds'"),
    ],
)
def test_mistakes_are_named(tmp_path, changes, message):
    with pytest.raises(ParamsError, match=message):
        study(tmp_path, **changes)


def test_a_study_of_hub_models_alone(tmp_path):
    assert set(all_models(study(tmp_path, organisms=[], seeds=[]))) == {"big", "big-sft"}


def test_benchmarks_are_fed_beside_or_instead_of_generated_tasks(tmp_path):
    assert all_tasks(study(tmp_path, benchmarks=["gsm8k"])) == ["logic", "gsm8k"]
    assert all_tasks(study(tmp_path, tasks=[], benchmarks=["gsm8k"])) == ["gsm8k"]
