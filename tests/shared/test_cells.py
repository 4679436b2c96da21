"""Cells: the arguments of a stage are made of DVC's name of it, and of nothing that is no name."""

import copy
import re
import subprocess
import sys

import pytest
import yaml

from stages.code import NAMES, require_all_names
from stages.paradigms.params import model_reference_and_like
from stages.shared.cells import (
    model_and_reference,
    name_of,
    named_by,
    organism_and_base,
    parse_cell,
    recipe_of_cell,
    require_names,
    run_of,
)
from stages.shared.params import ParamsError
from tests.support.project import ROOT

PIPELINE = (ROOT / "dvc.yaml").read_text()
COMMITTED = yaml.safe_load((ROOT / "params.yaml").read_text())
STAGES = yaml.safe_load(PIPELINE)["stages"]
# What is read here of the committed parameters.
READ = {
    group: COMMITTED[group] if group == "perturb" else {key: COMMITTED[group][key] for key in keys}
    for group, keys in {
        "study": ("benchmarks", "models", "organisms", "seeds"), "tasks": ("logic",), "paths": ("models", "organisms"),
        "ngrams": ("corpora", "organisms"), "trace": ("organisms", "runs", "text"), "drift": ("organisms", "runs"),
        "concepts": ("models", "organisms"), "perturb": (),
    }.items()
}  # fmt: skip
ATTACKS = [
    "0; touch PWNED #", "../../victim", "$(touch PWNED)", "`touch PWNED`", "'; touch PWNED; '", '"; touch PWNED; "',
    "0\ntouch PWNED", "/tmp/victim", "..", "a/b", "", " ", "-rf", "a b", "ü", "$(touch PWNED)/../0", "0\x00", "*", "~",
]  # fmt: skip


@pytest.fixture
def params(tmp_path, monkeypatch):
    """Write params.yaml with one value changed, in an empty working folder."""
    monkeypatch.chdir(tmp_path)

    def write(key=None, value=None):
        content = copy.deepcopy(READ)
        if key:
            node = content
            *groups, last = key.split(".")
            for group in groups:
                node = node[group]
            node[last] = value
        (tmp_path / "params.yaml").write_text(yaml.safe_dump(content))

    write()
    return write


@pytest.mark.parametrize(
    ("arguments", "stage", "expected"),
    [
        (name_of, "prepare@logic", ["logic"]),
        (name_of, "prepare-benchmark@gsm8k", ["gsm8k"]),
        (name_of, "fetch@olmo3-7b-base", ["olmo3-7b-base"]),
        (name_of, "../dvc.yaml:fetch@gpt2", ["gpt2"]),
        (recipe_of_cell, "base@0", ["0"]),
        (recipe_of_cell, "sft_kl@12", ["sft_kl", "12"]),
        (run_of, "trace-follow@rl_zero-0", ["rl_zero-s0"]),
        (run_of, "trace-follow-run@pythia-14m", ["pythia-14m"]),
        (run_of, "trace-count-corpus@pile", ["pile"]),
        (organism_and_base, "collect@sft_matched-3", ["sft_matched-s3", "base-s3"]),
        (model_and_reference("study.models"), "measure@base-0", ["base-s0", "base-s0"]),
        (model_and_reference("study.models"), "measure-model@gpt2-sft", ["gpt2-sft", "gpt2"]),
        (model_and_reference("study.models"), "drift-sample-run@pythia-14m", ["pythia-14m"]),
        (model_reference_and_like, "perturb@sft-2", ["sft-s2", "base-s2", "rl_zero-s2"]),
        (named_by("trace.text"), "trace-prepare", ["organisms"]),
    ],
)
def test_the_arguments_of_a_cell_are_its_names(params, arguments, stage, expected):
    params("study.models", {"gpt2": "gpt2", "gpt2-sft": "gpt2"})
    assert arguments(parse_cell(stage)) == expected


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize(
    ("arguments", "stage"),
    [
        (name_of, "fetch@{}"),
        (recipe_of_cell, "sft@{}"),
        (run_of, "trace-follow-run@{}"),
        (run_of, "trace-follow@sft-{}"),
        (organism_and_base, "collect@{}-0"),
        (organism_and_base, "collect@sft-{}"),
        (model_and_reference("study.models"), "measure-model@{}"),
        (model_reference_and_like, "perturb-model@{}"),
        (model_reference_and_like, "perturb@sft-{}"),
    ],
)
def test_what_is_no_name_makes_no_arguments(params, arguments, stage, attack):
    if "-model" in stage:
        key = "study.models" if "measure" in stage else "perturb.models"
        params(key, {attack: attack if key == "study.models" else {"reference": attack, "like": "b"}})
    with pytest.raises(ParamsError):
        arguments(parse_cell(stage.format(attack)))


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("shape", [lambda x: x, lambda x: ["a", x], lambda x: {x: "a"}, lambda x: {"a": {"like": x}}])
def test_a_name_that_is_none_is_refused_wherever_it_stands(attack, shape):
    with pytest.raises(ParamsError, match="study.models.*expected letters, digits, - and _ only"):
        require_names("study.models", shape(attack))


@pytest.mark.parametrize("key", NAMES)
def test_the_first_stage_refuses_what_is_no_name(params, key):
    attack = ATTACKS[0]
    if key == "perturb.models":
        value = {"gpt2": {"reference": attack, "like": "gpt2"}}
    elif key in ("tasks", "ngrams.corpora") or key.endswith("models"):
        value = {attack: {}}
    else:
        value = attack if key in ("perturb.like", "trace.text") else [attack]
    params(key, value)
    with pytest.raises(ParamsError, match=re.escape(key)):
        require_all_names()


def test_the_committed_names_are_names(params):
    require_all_names()


def test_the_first_stage_reads_all_names_that_the_pipeline_makes_paths_of():
    """The file of an ontology is read, and never written or removed."""
    interpolated = set(re.findall(r"\$\{([\w.]+)\}", PIPELINE))
    names = {name for name in interpolated if name != "key" and not re.match(r"item\b", name)}
    assert names - {"concepts.ontology.file"} == set(NAMES) == set(STAGES["code"]["params"])


def test_no_command_has_a_name_in_it():
    for name, stage in STAGES.items():
        assert re.fullmatch(r"python -m stages(\.\w+)+", stage.get("do", stage)["cmd"]), name


def test_a_stage_takes_its_arguments_from_dvc_where_none_are_given():
    code = (
        "from stages.shared.cells import organism_and_base\nfrom stages.shared.command import run_stage\n"
        "def main(model: str, reference: str): print(model, reference)\nrun_stage(main, 'It prints.', organism_and_base)"
    )
    for given, expected in (([], "sft-s1 base-s1"), (["a", "b"], "a b")):
        done = subprocess.run(
            [sys.executable, "-c", code, *given],
            cwd=ROOT, env={"DVC_STAGE": "collect@sft-1"}, text=True, capture_output=True, check=True,
        )  # fmt: skip
        assert done.stdout.split() == expected.split()
