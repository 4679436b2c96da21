"""The sample stage on tiny models: a base with checkpoints, its sibling, a run of the registry."""

import json

import numpy as np
import pytest
import torch
import yaml

from stages.drift import sample, sample_files
from stages.models.checkpoint import ModelError
from stages.shared.files import DiskFullError
from stages.tasks.item import TaskError
from tests.support.project import ROOT
from tests.support.small_disk import resize, small_disk
from tests.support.tiny_models import reading_tokenizer, tiny_model

PROMPTS, WORDS = 16, 6


def save(folder, seed):
    model = tiny_model("olmo3")
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.05 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(seed)))
    model.save_pretrained(folder)
    reading_tokenizer().save_pretrained(folder)


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    params["study"]["tasks"] = ["sums"]
    params["drift"] |= {"prompts": PROMPTS, "blocks": 8, "checkpoints": 3}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    for model, steps in (("base-s0", (0, 4, 16)), ("sft-s0", (2, 8))):
        for step in steps:
            save(tmp_path / f"data/models/{model}/checkpoints/step-{step}", step + len(model))
        save(tmp_path / f"data/models/{model}", steps[-1] + len(model))
    words = np.random.default_rng(0).integers(3, 40, (PROMPTS, WORDS))
    rows = [
        {"id": f"s{i}", "prompt": " ".join(f"w{word}" for word in line), "answer": "w3", "split": "held_out"}
        for i, line in enumerate(words)
    ]
    (tmp_path / "data/tasks").mkdir()
    (tmp_path / "data/tasks/sums.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def states(model):
    return [state.name for state in sample_files.read_states(sample.SAMPLES / f"{model}.h5")]


def test_a_base_is_sampled_along_its_training_and_untrained_and_its_sibling_on_the_same_tokens(project):
    sample.main("base-s0", "base-s0")
    sample.main("sft-s0", "base-s0")
    assert states("base-s0") == ["untrained", "step-0", "step-4", "final"]  # the last step saved is the model itself
    assert states("sft-s0") == ["step-2", "final"]
    paths = [sample.SAMPLES / f"{model}.h5" for model in ("base-s0", "sft-s0")]
    assert sample_files.have_same_tokens(*paths, ["sums"], [])
    base, sft = (sample_files.read_values(path, "final", "sums") for path in paths)
    assert base.shape == (5, PROMPTS * 3, 16) and not np.allclose(base, sft)
    rows = sample_files.read_tokens(paths[0], "sums")
    assert (rows.position == 0).sum() == PROMPTS and (rows.position[rows.position > 0] <= WORDS).all()


def test_values_are_those_of_the_model_at_these_tokens(project):
    """Hidden states of transformers, one prompt at a time: embedding, blocks but the last, and after the final norm."""
    sample.main("base-s0", "base-s0")
    path = sample.SAMPLES / "base-s0.h5"
    rows, values = sample_files.read_tokens(path, "sums"), sample_files.read_values(path, "final", "sums")
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained("data/models/base-s0").eval()
    lines = (project / "data/tasks/sums.jsonl").read_text().splitlines()
    for number in (0, 9):
        ids = reading_tokenizer()(json.loads(lines[number])["prompt"], return_tensors="pt")["input_ids"]
        with torch.no_grad():
            hidden = model(ids, output_hidden_states=True).hidden_states
        mine = rows.prompt == number
        for point, state in ((0, hidden[0]), (1, hidden[1]), (4, hidden[-1])):
            np.testing.assert_allclose(values[point, mine], state[0, rows.position[mine]].numpy(), atol=1e-5)


def test_a_second_run_repeats_every_byte(project):
    sample.main("base-s0", "base-s0")
    first = (sample.SAMPLES / "base-s0.h5").read_bytes()
    sample.main("base-s0", "base-s0")
    assert (sample.SAMPLES / "base-s0.h5").read_bytes() == first


def test_a_run_of_the_registry_is_sampled_at_its_checkpoints(project):
    entry = {"path": "data/models/base-s0/checkpoints", "paradigm": "base",
             "checkpoints": [{"step": step, "revision": f"step-{step}"} for step in (0, 4, 16)]}  # fmt: skip
    (project / "data/registry").mkdir()
    (project / "data/registry/runs.yaml").write_text(yaml.safe_dump({"mine": entry}))
    sample.main("mine", None)
    assert states("mine") == ["untrained", "step-0", "step-4", "final"]


def test_what_is_missing_is_named_with_its_stage(project):
    with pytest.raises(ModelError, match="think-s0 not found: .*dvc repro think"):
        sample.main("think-s0", "base-s0")
    (project / "data/tasks/sums.jsonl").unlink()
    with pytest.raises(TaskError, match="sums.jsonl not found: run `dvc repro prepare@sums`"):
        sample.main("base-s0", "base-s0")
    assert not sample.SAMPLES.exists()


def test_a_full_disk_is_named_and_the_next_run_ends_in_the_same_bytes(project):
    sample.main("base-s0", "base-s0")
    undisturbed = (sample.SAMPLES / "base-s0.h5").read_bytes()
    with small_disk(project / sample.SAMPLES, 2**16) as disk:
        with pytest.raises(DiskFullError, match=f"no space left in {disk}: base-s0.h5 needs more bytes"):
            sample.main("base-s0", "base-s0")
        assert not list(disk.iterdir())
        resize(disk, 2**25)
        sample.main("base-s0", "base-s0")
        assert (disk / "base-s0.h5").read_bytes() == undisturbed
