"""Kinds of models that the sample stage meets: local ones of the registry, siblings with another tokenizer, odd checkpoints."""

import json
import shutil

import numpy as np
import pytest
import torch
import yaml
from tokenizers import models as tokenizer_models

from stages.drift import sample, sample_files
from stages.models.checkpoint import Checkpoint, ModelError
from stages.models.loading import load_model
from stages.models.untrained import untrained_model
from stages.tasks.item import TaskError
from tests.support.project import ROOT
from tests.support.tiny_models import reading_tokenizer, tiny_model

PROMPTS = 16
COMMITTED = yaml.safe_load((ROOT / "params.yaml").read_text())


def save(folder, number, tokenizer=None):
    """Weights that differ by ``number``."""
    model, generator = tiny_model("olmo3"), torch.Generator().manual_seed(number)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.05 * torch.randn(weight.shape, generator=generator))
    model.save_pretrained(folder)
    (tokenizer or reading_tokenizer()).save_pretrained(folder)


def turned_tokenizer():
    """The same words by other ids."""
    tokenizer = reading_tokenizer()
    ids = {word: 42 - i if word.startswith("w") else i for word, i in tokenizer.get_vocab().items()}
    tokenizer.backend_tokenizer.model = tokenizer_models.WordLevel(ids, unk_token="w3")
    return tokenizer


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    configure()
    words = np.random.default_rng(0).integers(3, 40, (PROMPTS + 4, 9))  # more than are asked for
    rows = [
        {"id": f"s{i}", "prompt": " ".join(f"w{word}" for word in line), "answer": "w3", "split": "held_out"}
        for i, line in enumerate(words)
    ]
    (tmp_path / "data/tasks").mkdir(parents=True)
    for task in ("sums", "facts"):
        (tmp_path / f"data/tasks/{task}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def configure(tasks=("sums",), precision="float32", **changes):
    study = COMMITTED["study"] | {"tasks": list(tasks), "benchmarks": []}
    drift = COMMITTED["drift"] | {"prompts": PROMPTS, "blocks": 8, "checkpoints": 3, "tokens_per_prompt": 2} | changes
    content = COMMITTED | {"study": study, "drift": drift, "collect": COMMITTED["collect"] | {"precision": precision}}
    with open("params.yaml", "w") as file:
        yaml.safe_dump(content, file)


def organism(project, name, steps, last=None, tokenizer=None):
    """With checkpoints at ``steps``; the model itself is the last of them, or ``last``."""
    for step in steps:
        save(project / f"data/models/{name}/checkpoints/step-{step}", step + len(name), tokenizer)
    save(project / f"data/models/{name}", steps[-1] + len(name) if last is None else last, tokenizer)


def local(project, name, **recorded):
    """A model of the registry as fetch records it: a pointer to a folder."""
    folder = project / f"weights/{name}"
    save(folder, len(name))
    pointer = {"path": str(folder), "paradigm": "other", "resolved_revision": "local", "weight_hash": ""}
    pointer |= {"architecture": "olmo3"} | recorded
    (project / f"data/models/{name}").mkdir(parents=True)
    (project / f"data/models/{name}/model.json").write_text(json.dumps(pointer))
    return folder


def path_of(model):
    return sample.SAMPLES / f"{model}.h5"


def states(model):
    return {state.name: state.step for state in sample_files.read_states(path_of(model))}


def test_a_local_model_of_the_registry_has_no_checkpoints_and_its_own_reference_an_untrained_state(project):
    local(project, "mine")
    local(project, "theirs")
    sample.main("mine", "mine")
    sample.main("theirs", "mine")
    assert states("mine") == {"untrained": -1, "final": -1} and states("theirs") == {"final": -1}
    assert sample_files.have_same_tokens(path_of("mine"), path_of("theirs"), ["sums"], [])


def test_precision_is_the_registrys_before_that_of_collect(project):
    local(project, "mine", precision="bfloat16")
    local(project, "theirs")
    sample.main("mine", "mine")
    sample.main("theirs", "mine")
    found = [sample_files.read_header(path_of(name)).precision for name in ("mine", "theirs")]
    assert found == ["bfloat16", "float32"]
    with pytest.raises(sample_files.SampleError, match="computed in bfloat16, .*in float32"):
        sample_files.have_same_tokens(path_of("mine"), path_of("theirs"), ["sums"], [])


def test_a_sibling_reads_its_references_tokens_whatever_tokenizer_it_has(project):
    organism(project, "base-s0", (0, 4))
    organism(project, "sft-s0", (2,), tokenizer=turned_tokenizer())
    organism(project, "think-s0", (2,), tokenizer=turned_tokenizer())
    sample.main("base-s0", "base-s0")
    sample.main("sft-s0", "base-s0")
    assert sample_files.have_same_tokens(path_of("base-s0"), path_of("sft-s0"), ["sums"], [])
    sample.main("think-s0", "think-s0")  # by its own, to show that it is another one
    with pytest.raises(sample_files.SampleError, match="hold other tokens of sums"):
        sample_files.have_same_tokens(path_of("base-s0"), path_of("think-s0"), ["sums"], [])


def test_each_state_holds_the_values_of_its_own_weights(project):
    organism(project, "base-s0", (0, 4, 16))
    sample.main("base-s0", "base-s0")
    rows = sample_files.read_tokens(path_of("base-s0"), "sums")
    lines = (project / "data/tasks/sums.jsonl").read_text().splitlines()
    ids = reading_tokenizer()(json.loads(lines[5])["prompt"], return_tensors="pt")["input_ids"]
    mine = rows.prompt == 5

    def check(name, model):
        with torch.inference_mode():
            hidden = model(ids, output_hidden_states=True).hidden_states
        found = sample_files.read_values(path_of("base-s0"), name, "sums")[:, mine]
        expected = torch.stack([hidden[0], hidden[1], hidden[2]])[:, 0, rows.position[mine]]
        np.testing.assert_allclose(found[:3], expected.numpy(), atol=1e-5)
        np.testing.assert_allclose(found[-1], hidden[-1][0, rows.position[mine]].numpy(), atol=1e-5)

    folders = {"step-0": "checkpoints/step-0", "step-4": "checkpoints/step-4", "final": ""}
    for name, folder in folders.items():
        check(name, load_model(at(project / "data/models/base-s0" / folder), "float32"))
    seed = COMMITTED["drift"]["seed"]
    check("untrained", untrained_model(at(project / "data/models/base-s0"), "float32", seed))


def at(folder):
    return Checkpoint(folder.name, folder, "other", "local", "", "olmo3")


def test_the_untrained_state_says_its_seed_and_the_trained_ones_their_weights(project):
    organism(project, "base-s0", (0, 4))
    configure(seed=9)
    sample.main("base-s0", "base-s0")
    found = {state.name: state for state in sample_files.read_states(path_of("base-s0"))}
    assert found["untrained"].weight_hash == "random, seed 9"
    assert len({state.weight_hash for state in found.values()}) == len(found) == 3
    assert {state.architecture for state in found.values()} == {found["final"].architecture}


def test_a_last_checkpoint_of_other_weights_than_the_model_is_kept(project):
    organism(project, "base-s0", (0, 4), last=99)
    sample.main("base-s0", "base-s0")
    assert states("base-s0") == {"untrained": -1, "step-0": 0, "step-4": 4, "final": 4}
    early, final = (sample_files.read_values(path_of("base-s0"), name, "sums") for name in ("step-4", "final"))
    assert not np.allclose(early, final)


def test_of_many_checkpoints_the_first_the_last_and_some_between_are_taken(project):
    organism(project, "base-s0", (0, 1, 2, 4, 8, 16, 32))
    sample.main("base-s0", "base-s0")
    found = states("base-s0")
    assert len(found) == 4 and found["final"] == 32 and "step-0" in found


def test_every_prompt_has_its_sink_and_so_many_drawn_tokens_that_depend_on_the_seed(project):
    organism(project, "base-s0", (0,))
    sample.main("base-s0", "base-s0")
    first = sample_files.read_tokens(path_of("base-s0"), "sums")
    np.testing.assert_array_equal(first.prompt, np.repeat(np.arange(PROMPTS), 3))
    assert (first.position[::3] == 0).all() and (first.position.reshape(-1, 3)[:, 1:] > 0).all()
    assert (np.diff(first.position.reshape(-1, 3)) > 0).all()
    configure(seed=1)
    sample.main("base-s0", "base-s0")
    other = sample_files.read_tokens(path_of("base-s0"), "sums")
    assert not np.array_equal(first.position, other.position) and first.token_hash == other.token_hash


def test_too_few_prompts_are_said_with_the_fix(project):
    organism(project, "base-s0", (0,))
    configure(prompts=PROMPTS + 8)
    with pytest.raises(TaskError, match="'sums' has 20 held_out prompts, 24 asked for: raise tasks.sums.held_out"):
        sample.main("base-s0", "base-s0")


def test_every_task_has_rows_and_values_of_its_own_name(project):
    organism(project, "base-s0", (0,))
    configure(tasks=("sums", "facts"))
    sample.main("base-s0", "base-s0")
    sums, facts = (sample_files.read_values(path_of("base-s0"), "final", task) for task in ("sums", "facts"))
    np.testing.assert_array_equal(sums, facts)  # the same prompts under two names


def test_a_checkpoint_that_cannot_be_read_is_named_and_leaves_the_old_file(project):
    organism(project, "base-s0", (0, 4, 16))
    sample.main("base-s0", "base-s0")
    first = path_of("base-s0").read_bytes()
    weights = project / "data/models/base-s0/checkpoints/step-4/model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(ModelError, match="step-4"):
        sample.main("base-s0", "base-s0")
    assert path_of("base-s0").read_bytes() == first and list(sample.SAMPLES.iterdir()) == [path_of("base-s0")]


def test_an_organism_without_checkpoints_is_named_with_its_stage(project):
    organism(project, "sft-s0", (0,))
    shutil.rmtree(project / "data/models/sft-s0/checkpoints")
    with pytest.raises(ModelError, match="checkpoints holds no step-.*dvc repro sft"):
        sample.main("sft-s0", "sft-s0")


def test_a_run_has_the_last_of_its_checkpoints_as_its_final_state_and_no_copy_of_it(project):
    for step in (0, 8):
        save(project / f"runs/at-{step}", step)
    checkpoints = [{"step": step, "revision": f"at-{step}"} for step in (0, 8)]
    (project / "data/registry").mkdir()
    entry = {"path": "runs", "paradigm": "base", "checkpoints": checkpoints}
    (project / "data/registry/runs.yaml").write_text(yaml.safe_dump({"mine": entry}))
    sample.main("mine", None)
    assert states("mine") == {"untrained": -1, "step-0": 0, "final": 8}
    local_final = sample_files.read_values(path_of("mine"), "final", "sums")
    save(project / "data/models/base-s0/checkpoints/step-8", 8)
    save(project / "data/models/base-s0", 8)
    sample.main("base-s0", "base-s0")
    np.testing.assert_array_equal(sample_files.read_values(path_of("base-s0"), "final", "sums"), local_final)


def test_a_run_that_is_not_registered_is_named(project):
    (project / "data/registry").mkdir()
    (project / "data/registry/runs.yaml").write_text("{}\n")
    with pytest.raises(ValueError, match="mine"):
        sample.main("mine", None)
    assert not sample.SAMPLES.exists()
