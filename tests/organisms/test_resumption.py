"""Trainings that are killed go on from their last saved state and end in the bytes of one that ran undisturbed."""

import json
import multiprocessing
import os
import pydoc
import shutil
import signal
from pathlib import Path

import pytest
import torch
import yaml

from stages.organisms import finetune, prepare, pretrain, reinforce, resumption
from stages.organisms.resumption import TrainingStates
from stages.shared.scratch import scratch_key
from tests.support.project import ROOT

TASKS = ("arithmetic", "logic", "strings", "ontology", "facts")
STAGES = {
    "base": lambda: pretrain.main(0),
    "sft": lambda: finetune.main("sft", 0),
    "rl_shuffled": lambda: reinforce.main("rl_shuffled", 0),
    "sft_kl": lambda: finetune.main("sft_kl", 0),
}
# Where a run is killed: the function that is called there, and the number of its calls that end well.
MOMENTS = {
    "in the first step": ("torch.Tensor.backward", 0),
    "in a later step": ("torch.Tensor.backward", 4),
    "while a state is saved": ("os.fsync", 5),
    "while a checkpoint is saved": ("transformers.PreTrainedModel.save_pretrained", 1),
    "while it is evaluated": ("pyarrow.parquet.write_table", 0),
}


class Killed(Exception):
    """Stands for a kill in the process of the test."""


def small_params() -> dict:
    params = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    organisms = params["organisms"]
    organisms["architecture"] |= {"layers": 2, "width": 16, "mlp_width": 32, "heads": 2, "sliding_window": 16}
    organisms["evaluation"] |= {"prompts": 12, "kl_prompts": 10, "new_tokens": 8}
    organisms["base"] |= {"documents": 1000, "batch": 32}
    organisms["base"]["mix"]["guild_repeats"] = 2
    for recipe in "sft", "sft_kl":
        organisms[recipe] |= {"steps": 12, "batch": 8, "checkpoints": 3}
    organisms["rl_shuffled"] |= {"steps": 6, "prompts": 4, "rollouts": 4, "new_tokens": 8, "learning_rate": 3e-3}
    organisms["sft_kl"]["stop"]["like"] = "rl_shuffled"
    params["tasks"]["facts"] |= {"first_names": 4, "last_names": 4, "animals": 8, "guilds": 2, "most_exposures": 20}
    params["tasks"]["ontology"] |= {"parents_per_super": 2, "children_per_parent": 8, "properties": 2}
    for task in "arithmetic", "logic", "strings":
        params["tasks"][task] |= {"train": 60, "held_out": 12}
    return params


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A folder with tasks and all organisms, trained undisturbed, a state being due at each step."""
    folder, before = tmp_path_factory.mktemp("project"), Path.cwd()
    (folder / "params.yaml").write_text(yaml.safe_dump(small_params()), encoding="utf-8")
    os.chdir(folder)
    with pytest.MonkeyPatch.context() as patch:
        always_due(patch)
        for task in TASKS:
            prepare.main(task)
        for stage in STAGES.values():
            stage()
    yield folder
    os.chdir(before)


@pytest.fixture(autouse=True)
def _in_project(project, monkeypatch):
    monkeypatch.chdir(project)
    always_due(monkeypatch)


def always_due(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(resumption, "LEAST_SECONDS", 0.0)
    patch.setattr(resumption, "LARGEST_SHARE", float("inf"))
    # graded by length: untrained models answer nothing right, and no reward would move anything
    patch.setattr("stages.organisms.reinforcement.verify", lambda text, answer: len(text) % 2 == 0)
    patch.setattr("stages.organisms.finetuning.verify", lambda text, answer: len(text) % 2 == 0)


def outputs(organism: str) -> dict[str, bytes]:
    folder = Path(f"data/models/{organism}-s0")
    files = [path for path in folder.rglob("*") if path.is_file()]
    files += [Path(f"metrics/train/{organism}-s0.json"), Path(f"plots/train/{organism}-s0.csv")]
    return {str(path): path.read_bytes() for path in files}


def set_aside(organism: str) -> dict[str, bytes]:
    """Remove the outputs, as DVC does before it runs a stage, and return them."""
    undisturbed = outputs(organism)
    assert len(undisturbed) > 8
    shutil.rmtree(f"data/models/{organism}-s0")
    Path(f"metrics/train/{organism}-s0.json").unlink()
    Path(f"plots/train/{organism}-s0.csv").unlink()
    return undisturbed


def interrupt_at(patch: pytest.MonkeyPatch, moment: str, interrupt) -> None:
    name, calls = MOMENTS[moment]
    owner, _, attribute = name.rpartition(".")
    original = pydoc.locate(name)
    count = iter(range(10**9))

    def counted(*arguments, **options):
        if next(count) == calls:
            interrupt()
        return original(*arguments, **options)

    patch.setattr(name, counted)


def saved(organism: str) -> list[Path]:
    return list(Path(".dvc/tmp/train").glob(f"{organism}-s0-*/*"))


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("organism", STAGES)
def test_a_run_that_fails_goes_on_and_ends_in_the_same_bytes(organism, moment):
    undisturbed = set_aside(organism)

    def fail():
        raise Killed

    with pytest.MonkeyPatch.context() as patch:
        interrupt_at(patch, moment, fail)
        with pytest.raises(Killed):
            STAGES[organism]()
    assert bool(saved(organism)) or moment == "in the first step"
    assert not Path(f"data/models/{organism}-s0").exists()
    steps = count_steps(STAGES[organism])
    assert outputs(organism) == undisturbed
    assert not saved(organism)
    if moment == "while it is evaluated":
        assert steps == 0


def count_steps(stage) -> int:
    steps = []
    with pytest.MonkeyPatch.context() as patch:
        backward = torch.Tensor.backward
        patch.setattr(torch.Tensor, "backward", lambda *a, **k: (steps.append(1), backward(*a, **k))[1])
        stage()
    return len(steps)


@pytest.mark.parametrize(
    ("organism", "moment"),
    [("base", "in a later step"), ("sft_kl", "while a state is saved"), ("rl_shuffled", "in a later step")],
)
def test_a_process_that_is_killed_goes_on_and_ends_in_the_same_bytes(organism, moment):
    undisturbed = set_aside(organism)

    def die():
        os.kill(os.getpid(), signal.SIGKILL)

    def child():
        with pytest.MonkeyPatch.context() as patch:
            interrupt_at(patch, moment, die)
            STAGES[organism]()

    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    process.join(120)
    assert process.exitcode == -signal.SIGKILL
    assert saved(organism)
    STAGES[organism]()
    assert outputs(organism) == undisturbed


def edit(path: str, old: str, new: str) -> None:
    text = Path(path).read_text(encoding="utf-8")
    assert old in text
    Path(path).write_text(text.replace(old, new, 1), encoding="utf-8")


def edit_group(path: str, group: str, **changes) -> None:
    """Change values of a group (dots descend) of a YAML or JSON file."""
    content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    node = content
    for key in group.split("."):
        node = node[key]
    node.update(changes)
    Path(path).write_text(json.dumps(content), encoding="utf-8")


CHANGES = {
    "the recipe": lambda: edit_group("params.yaml", "organisms.sft_kl", learning_rate=1e-3),
    "the effort": lambda: edit_group("params.yaml", "organisms.budget", effort=0.5),
    "the evaluation": lambda: edit_group("params.yaml", "organisms.evaluation", seed=2),
    "the target": lambda: edit_group("metrics/train/rl_shuffled-s0.json", "kl_from_base", value=0.5),
    "held-out rows": lambda: edit("data/tasks/logic.jsonl", '"split": "held_out"', '"split": "held_out", "new": 1'),
    "training rows": lambda: edit("data/tasks/logic.jsonl", '"split": "train"', '"split": "held_out"'),
    "the parent's weights": lambda: shutil.copy("data/models/sft-s0/model.safetensors", "data/models/base-s0"),
    "the parent's tokenizer": lambda: edit("data/models/base-s0/tokenizer.json", "{", "{ "),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_state_is_taken_only_where_all_that_it_depends_on_is_the_same(project, tmp_path, monkeypatch, change):
    shutil.copytree(project, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    key = state_key(STAGES["sft_kl"])
    assert key == state_key(STAGES["sft_kl"])
    CHANGES[change]()
    assert key != state_key(STAGES["sft_kl"])


def state_key(stage) -> str:
    keys = []

    def record(*content):
        keys.append(scratch_key(*content))
        raise Killed

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        patch.setattr(resumption, "scratch_key", record)
        stage()
    return keys[0]


def test_saving_takes_a_small_share_of_the_time(tmp_path, monkeypatch):
    monkeypatch.setattr(resumption, "LARGEST_SHARE", 0.02)
    monkeypatch.setattr(resumption, "LEAST_SECONDS", 1.0)
    now, spent = [0.0], 0.0
    monkeypatch.setattr(resumption.time, "monotonic", lambda: now[0])
    states = TrainingStates(tmp_path)
    for step in range(2000):
        now[0] += 0.5
        if states.is_due():
            with states.save(step):
                now[0] += 0.3
                spent += 0.3
    assert 0.015 * now[0] < spent < 0.02 * now[0]
