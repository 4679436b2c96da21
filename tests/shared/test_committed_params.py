"""The committed params.yaml is valid for every group that a stage loads."""

import importlib

import pytest
import yaml

from stages.activations.params import Collect
from stages.concepts.autoencoder_params import Autoencoders
from stages.concepts.params import Concepts
from stages.drift.params import Drift
from stages.organisms.params import Architecture, Budget, Evaluation, Finetuning, Pretraining, Reinforcement
from stages.paradigms.params import Hypotheses, MeasureParams, PathParams, PerturbParams, ProbeParams
from stages.shared.params import load
from stages.shared.study import RECIPES, Study
from stages.trace.params import Ngrams, PhaseParams, Trace
from tests.support.project import ROOT

PARAMS = ROOT / "params.yaml"
RAW = yaml.safe_load(PARAMS.read_text())
ORGANISMS = {
    "budget": Budget, "architecture": Architecture, "evaluation": Evaluation, "base": Pretraining,
    "sft": Finetuning, "sft_matched": Finetuning, "sft_kl": Finetuning, "sft_onpolicy": Finetuning, "sft_continued": Finetuning,
    "rl_zero": Reinforcement, "think": Reinforcement, "rl_shuffled": Reinforcement,
}  # fmt: skip
GROUPS = {
    "study": Study,
    "collect": Collect,
    "measure": MeasureParams,
    "paths": PathParams,
    "probe": ProbeParams,
    "perturb": PerturbParams,
    "ngrams": Ngrams,
    "hypotheses": Hypotheses,
    "trace": Trace,
    "drift": Drift,
    "concepts": Concepts,
    "autoencoders": Autoencoders,
    "phases": PhaseParams,
}


@pytest.mark.parametrize("group", GROUPS)
def test_group_is_valid(group):
    load(group, GROUPS[group], PARAMS)


@pytest.mark.parametrize("name", RAW["organisms"])
def test_organism_is_valid(name):
    load(f"organisms.{name}", ORGANISMS[name], PARAMS)


@pytest.mark.parametrize("task", RAW["tasks"])
def test_task_is_valid(task):
    load(f"tasks.{task}", importlib.import_module(f"stages.tasks.{task}").Params, PARAMS)


def test_every_group_is_known_and_every_recipe_has_params():
    assert set(RAW) == {*GROUPS, "tasks", "organisms", "sets"}
    assert set(RECIPES) == set(RAW["organisms"]) - {"budget", "architecture", "evaluation"}


def test_controls_differ_from_what_they_control_in_one_thing():
    rl_zero, shuffled = RAW["organisms"]["rl_zero"], RAW["organisms"]["rl_shuffled"]
    same = {key for key in rl_zero if key not in ("target", "shuffle_rewards")}
    assert {key: shuffled[key] for key in same} == {key: rl_zero[key] for key in same}
    assert set(shuffled) == set(rl_zero) and shuffled["shuffle_rewards"] is not rl_zero["shuffle_rewards"]
    assert RAW["organisms"]["sft_matched"]["learning_rate"] == rl_zero["learning_rate"]
