"""Which names are organisms': recipe and seed, and no entry of a registry may bear one."""

import pytest
import yaml

from stages.models.names import recipe_of, stage_of
from stages.models.registry import load_entry
from stages.models.run_registry import load_run
from stages.models.runs import is_organism
from stages.shared.params import ParamsError
from stages.shared.study import RECIPES, Study
from stages.trace.params import load_corpus

ORDINARY = [
    "grpo-s1",
    "base-small",
    "base-s",
    "sft-s1x",
    "my_sft-s0",
    "base-s0-long",
    "sft-s٣",
    "gpt2",
    "olmo-s100",
    "base",
]


@pytest.mark.parametrize("name", ORDINARY)
def test_a_model_that_looks_like_an_organism_is_a_model(name):
    assert not is_organism(name)
    assert recipe_of(name) == name
    assert stage_of("collect", name) == f"collect-model@{name}"


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_with_a_seed_is_an_organism_and_no_entry(recipe, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = f"{recipe}-s12"
    assert is_organism(name) and recipe_of(name) == recipe and stage_of("probe", name) == f"probe@{recipe}-12"
    corpora = {name: {"index": "a"}}
    api = {"url": "u", "tries": 1, "seconds": 1}
    content = {"ngrams": {"organisms": [], "answers": ["facts"], "corpora": corpora, "api": api}}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(content))
    (tmp_path / "models.yaml").write_text(yaml.safe_dump({name: {"path": "m", "paradigm": "base"}}))
    study = {"seeds": [], "organisms": [], "models": {name: name}, "tasks": ["logic"], "benchmarks": []}
    for load in (
        lambda: load_entry(name, tmp_path / "models.yaml"),
        lambda: load_run(name, tmp_path / "models.yaml"),
        lambda: load_corpus(name),
        lambda: Study(**study),
    ):
        with pytest.raises(ValueError, match=f"'{name}' is the name of an organism"):
            load()


def test_a_slug_that_stands_twice_in_the_registry_is_refused(tmp_path):
    path = tmp_path / "models.yaml"
    path.write_text(
        "gpt2: {path: a, paradigm: base}\nother: {path: b, paradigm: base}\ngpt2: {path: c, paradigm: sft}\n"
    )
    with pytest.raises(ParamsError, match="models.yaml, line 3: the key 'gpt2' stands twice"):
        load_entry("gpt2", path)
