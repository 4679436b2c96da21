"""Every number that params.yaml or a registry may hold has its range, and what makes a control a control has no default."""

from __future__ import annotations

import copy
import importlib
import math
import pkgutil
import re

import pytest
import yaml
from pydantic import ValidationError

import stages
from stages.models.registry import Model
from stages.models.run_registry import RegisteredRun
from stages.organisms.params import MEANING, Finetuning, Reinforcement, Stop, load_recipe
from stages.paradigms.params import Topology
from stages.shared.params import Group, ParamsError, load, read_yaml
from stages.tasks.benchmarks.registry import Benchmark, Shots
from stages.trace.text_registry import SOURCES
from tests.shared.test_committed_params import GROUPS, ORGANISMS, RAW
from tests.support.project import ROOT

REGISTRY = {
    name: yaml.safe_load((ROOT / f"data/registry/{name}.yaml").read_text(encoding="utf-8"))
    for name in ("benchmarks", "models", "runs", "texts")
}
# Groups that no committed file has.
ABSENT = [
    Topology(points=500, draws=4),
    Stop(like="rl_zero", by="kl", every=2),
    Shots(count=4, split="train", seed=0, completion="{answer}"),
    SOURCES["file"](source="file", file="a.txt", documents=9, least_characters=1),
]
# Where nothing is a size that a recipe may have.
ZERO_IS_RIGHT = {
    "any seed", "Accuracy", "AutoencoderVariant.noise", "AutoencoderVariant.sibling_seeds", "Autoencoders.frozen",
    "Autoencoders.warmup", "Benchmark.leave_out", "LossTerms", "MeasureParams.bands", "Mix",
    "PerturbParams.interpolation", "Pretraining.weight_decay", "RegisteredCheckpoint.step",
    "RegisteredCheckpoint.tokens", "Shots.count", "Target.at_least", "Target.at_most", "Trace.bands",
}  # fmt: skip
# A gain or a share may be asked to stay above a loss of all.
MINUS_ONE_IS_RIGHT = {"Target.at_least", "Target.at_most"}
NUMBERS = (int, float)


def groups_below(instance: object):
    """Yield every group inside a group, itself included."""
    if isinstance(instance, Group):
        yield instance
        instance = instance.__dict__
    for item in instance.values() if isinstance(instance, dict) else instance if isinstance(instance, list) else ():
        yield from groups_below(item)


def examples() -> dict[type[Group], Group]:
    """One valid group of every type."""
    loaded = [schema.model_validate(RAW[name]) for name, schema in GROUPS.items()]
    loaded += [schema.model_validate(RAW["organisms"][name]) for name, schema in ORGANISMS.items()]
    tasks = {name: importlib.import_module(f"stages.tasks.{name}").Params for name in RAW["tasks"]}
    loaded += [schema.model_validate(RAW["tasks"][name]) for name, schema in tasks.items()]
    loaded += [Benchmark.model_validate(entry) for entry in REGISTRY["benchmarks"].values()]
    loaded += [SOURCES[entry["source"]].model_validate(entry) for entry in REGISTRY["texts"].values()]
    loaded += [RegisteredRun.model_validate(next(iter(REGISTRY["runs"].values())))]
    loaded += [Model.model_validate(next(iter(REGISTRY["models"].values())))]
    return {type(group): group for item in [*ABSENT, *loaded] for group in groups_below(item)}


def annotated_types(annotation: object):
    """Yield a type and all inside it."""
    yield annotation
    for argument in getattr(annotation, "__args__", ()):
        yield from annotated_types(argument)


def numeric_fields(schema: type[Group]) -> list[str]:
    return [
        name
        for name, field in schema.model_fields.items()
        if set(annotated_types(field.annotation)) & set(NUMBERS) and bool not in annotated_types(field.annotation)
    ]


EXAMPLES = examples()
FIELDS = [(schema, name) for schema in sorted(EXAMPLES, key=lambda x: x.__name__) for name in numeric_fields(schema)]


def all_groups(schema: type[Group] = Group) -> set[type[Group]]:
    return {schema}.union(*(all_groups(child) for child in schema.__subclasses__()))


def with_number(value: object, number: object) -> object:
    """The value of a field with its first number, or it itself, replaced."""
    return [number, *value[1:]] if isinstance(value, list) else number


def is_refused(schema: type[Group], field: str, number: object) -> bool:
    """Whether the group refuses the number in a message that names the field."""
    content = EXAMPLES[schema].model_dump()
    content[field] = with_number(copy.deepcopy(content[field]), number)
    try:
        schema.model_validate(content)
    except ValidationError as error:
        assert field in str(error), error
        return True
    return False


def test_every_group_of_numbers_has_an_example():
    for module in pkgutil.walk_packages(stages.__path__, "stages."):
        if re.search(r"params|registry|stages\.tasks\.", module.name):
            importlib.import_module(module.name)
    modules = {schema for schema in all_groups() if schema.__module__.startswith("stages.")}
    assert {schema for schema in modules if numeric_fields(schema)} <= set(EXAMPLES)
    assert len(FIELDS) > 120


@pytest.mark.parametrize(
    "number", [math.nan, math.inf, -math.inf, 1e300, 10**40, -1, -1e-9, True, "nan", "1e400", None]
)
def test_every_number_has_its_range(number):
    accepted = {f"{schema.__name__}.{field}" for schema, field in FIELDS if not is_refused(schema, field, number)}
    if number == -1 or number == -1e-9:
        accepted -= MINUS_ONE_IS_RIGHT
    if number is None:
        accepted = {name for name in accepted if "None" not in str(_annotation(name))}
    assert not accepted


def _annotation(name: str):
    schema, field = name.split(".")
    return next(group for group in EXAMPLES if group.__name__ == schema).model_fields[field].annotation


def test_zero_is_refused_where_it_is_no_size():
    accepted = {(schema.__name__, field) for schema, field in FIELDS if not is_refused(schema, field, 0)}
    assert not {
        f"{group}.{field}"
        for group, field in accepted
        if not {group, f"{group}.{field}"} & ZERO_IS_RIGHT and field not in ("seed", "seeds")
    }


@pytest.mark.parametrize("organism", MEANING)
def test_what_makes_a_control_a_control_has_no_default_and_no_other_value(organism, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    schema = ORGANISMS[organism]
    params = {"organisms": {name: RAW["organisms"][name] for name in (organism, "budget")}}

    def loaded():
        (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
        return load_recipe(organism, schema)

    loaded()
    other = {
        "parent": "base" if MEANING[organism].get("parent") == "sft" else "sft", "style": "long", "stop.like": "sft",
        "stop.by": "kl" if MEANING[organism].get("stop.by") == "displacement" else "displacement",
        "stop": {"like": "rl_zero", "by": "kl", "every": 1},
        "shuffle_rewards": not MEANING[organism].get("shuffle_rewards"),
    }  # fmt: skip
    for key in MEANING[organism]:
        *parents, last = key.split(".")
        recipe = params["organisms"][organism]
        node = recipe[parents[0]] if parents else recipe
        value = node.pop(last)
        with pytest.raises(ParamsError, match=f"organisms.{organism}.{key}"):
            loaded()
        node[last] = other[key]
        with pytest.raises(ParamsError, match=f"organisms.{organism}.{key} is .*which makes it {organism}"):
            loaded()
        node[last] = value
    if "stop" in params["organisms"][organism]:
        stop = params["organisms"][organism].pop("stop")
        with pytest.raises(ParamsError, match="stop: Field required"):
            loaded()
        if stop is not None:
            params["organisms"][organism]["stop"] = None
            with pytest.raises(ParamsError, match=r"stop\.\w+ is None"):
                loaded()


@pytest.mark.parametrize("schema", [Finetuning, Reinforcement])
def test_nothing_of_a_recipe_but_the_bound_that_is_reported_has_a_default(schema):
    assert {name for name, field in schema.model_fields.items() if not field.is_required()} == {"target"}


@pytest.mark.parametrize("variant", RAW["autoencoders"]["variants"])
def test_what_tells_variants_of_autoencoders_apart_has_no_default(variant):
    schema = GROUPS["autoencoders"]
    for key in ("architecture", "initial", "k", "orthogonality", "trained"):
        content = copy.deepcopy(RAW["autoencoders"])
        del content["variants"][variant][key]
        with pytest.raises(ValidationError, match=rf"variants\.{variant}\.{key}\n  Field required"):
            schema.model_validate(content)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: {b: 1, c: 2}\na: {b: 3}\n", "line 2: the key 'a' stands twice"),
        ("a:\n  b: 1\n  c: 2\n  b: 3\n", "line 4: the key 'b' stands twice"),
        ("a:\n- {b: 1, 'b': 2}\n", "line 2: the key 'b' stands twice"),
        ("a: {1: x, 1: y}\n", "line 1: the key 1 stands twice"),
    ],
)
def test_a_key_that_stands_twice_is_refused(tmp_path, text, message):
    path = tmp_path / "params.yaml"
    path.write_text(text)
    with pytest.raises(ParamsError, match=f"params.yaml, {message} in one group: leave one out"):
        load("a", Group, path)


def test_a_merged_group_may_be_overridden(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text("a: &a {b: 1, c: 2}\nd: {<<: *a, c: 3}\n")
    assert read_yaml(path)["d"] == {"b": 1, "c": 3}
