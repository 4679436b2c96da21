"""A kept result of a checkpoint is taken where nothing changed that it depends on, and computed anew otherwise."""

import json
import shutil

import pytest
import torch
import yaml

from stages.shared import scratch
from stages.trace import checkpoints as following
from stages.trace import follow
from tests.trace.test_follow import STEPS, project, save  # noqa: F401 - a fixture


@pytest.fixture
def computed(monkeypatch) -> list[str]:
    """The checkpoints that are measured."""
    names, real = [], following.measure_checkpoint
    monkeypatch.setattr(
        following,
        "measure_checkpoint",
        lambda checkpoint, *rest: (names.append(checkpoint.folder.name), real(checkpoint, *rest))[1],
    )
    return names


def outputs(folder) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "data/trace/runs/base-s0").iterdir()}


def in_json(path: str, **values):
    def change(folder, patch):
        for file in folder.glob(f"data/models/base-s0/{path}"):
            file.write_text(json.dumps(json.loads(file.read_text()) | values))

    return change


def in_params(*keys: str, value):
    def change(folder, patch):
        params = yaml.safe_load((folder / "params.yaml").read_text())
        group = params
        for key in keys[:-1]:
            group = group[key]
        group[keys[-1]] = value
        (folder / "params.yaml").write_text(yaml.safe_dump(params))

    return change


def in_rows(file: str, **values):
    def change(folder, patch):
        path = folder / file
        first, *rest = path.read_text().splitlines()
        path.write_text("\n".join([json.dumps(json.loads(first) | values), *rest]) + "\n")

    return change


def other_weights(folder, patch):
    for step in STEPS:
        save(folder / f"data/models/base-s0/checkpoints/step-{step}", step + 100)


def swapped_words(folder, patch):
    path = folder / "data/models/base-s0/tokenizer.json"
    content = json.loads(path.read_text())
    vocabulary = content["model"]["vocab"]
    vocabulary["w7"], vocabulary["w8"] = vocabulary["w8"], vocabulary["w7"]
    path.write_text(json.dumps(content))


def another_device(folder, patch):
    patch.setattr(following, "device", lambda: torch.device("cuda"))
    patch.setattr(following, "use", lambda name: None)


CHANGES = {
    "weights": other_weights,
    "rope_theta": in_json("checkpoints/*/config.json", rope_parameters={"rope_type": "default", "rope_theta": 50.0}),
    "rms_norm_eps": in_json("checkpoints/*/config.json", rms_norm_eps=0.1),
    "generation settings": in_json("checkpoints/*/generation_config.json", repetition_penalty=2.0),
    "the tokenizer's vocabulary": swapped_words,
    "the tokenizer's decoding": in_json("tokenizer_config.json", clean_up_tokenization_spaces=True),
    "the text": in_rows("data/trace/texts/mine.jsonl", text=" ".join(f"w{i}" for i in range(20, 32))),
    "an answer": in_rows("data/tasks/known.jsonl", answer="w30"),
    "a question": in_rows("data/tasks/sums.jsonl", prompt="w30 w31"),
    "the length": in_params("trace", "length", value=9),
    "the sequences": in_params("trace", "sequences", value=48),
    "the blocks": in_params("trace", "blocks", value=16),
    "the batch": in_params("trace", "tokens_per_batch", value=50),
    "the confidence": in_params("trace", "confidence", value=0.9),
    "the ranks": in_params("trace", "decay_ranks", "last", value=0.6),
    "the bands": in_params("trace", "bands", value=[0, 0.5, 1]),
    "the depths": in_params("trace", "interval_depths", value=[0.5, 1]),
    "the seed": in_params("trace", "seed", value=7),
    "the accuracy": in_params("trace", "accuracy", "new_tokens", value=5),
    "the code": lambda folder, patch: patch.setattr(scratch, "identity", lambda *modules: "edited"),
    "a library": lambda folder, patch: patch.setattr(scratch, "version", lambda library: "0"),
    "the kind of device": another_device,
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_whatever_a_result_depends_on_is_computed_anew_and_warm_is_cold(change, project, computed, monkeypatch):  # noqa: F811
    follow.main("base-s0")
    before = outputs(project)
    computed.clear()
    follow.main("base-s0")
    assert not computed and outputs(project) == before
    change(project, monkeypatch)
    follow.main("base-s0")
    warm = outputs(project)
    assert sorted(computed) == sorted(f"step-{step}" for step in STEPS)
    shutil.rmtree(project / ".dvc/tmp/trace")
    follow.main("base-s0")
    assert outputs(project) == warm
