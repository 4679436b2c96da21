"""An autoencoder is taken from scratch where nothing changed that its weights depend on, and trained anew otherwise."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from stages.concepts import autoencode, autoencoder_runs, extract
from stages.concepts.autoencoders import training
from stages.shared import scratch
from tests.support.concept_study import USUAL, checkpoint, prepare, small, write_hierarchy, write_params

VARIANT = USUAL | {"initial": "shuffled", "orthogonality": "causal"}


def params(**changes) -> dict:
    """One variant of two seeds and two steps, with changes by group."""
    content = small()
    content["autoencoders"] |= {
        "variants": {"causal": dict(VARIANT)},
        "comparisons": {},
        "steps": 2,
        "batch": 32,
        "buffer": 32,
        "frozen": 0.0,  # so that the decoder, and with it the causal term, counts from the first step
    }
    for group, values in changes.items():
        content[group] |= values
    return content


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A study whose autoencoders are trained."""
    project = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(project)
        patch.setenv("JOBS", "1")
        prepare(project)
        write_params(project, params())
        extract.main("one", "one")
        autoencode.main()
    return project


@pytest.fixture
def inside(trained, monkeypatch):
    """The same study, whose files are put back afterwards, save scratch."""
    monkeypatch.chdir(trained)
    monkeypatch.setenv("JOBS", "1")
    content = {path: path.read_bytes() for path in files(trained)}
    yield trained
    for path in files(trained) - set(content):
        path.unlink()
    for path, before in content.items():
        path.write_bytes(before)


def files(project: Path) -> set[Path]:
    return {path for path in project.rglob("*") if path.is_file() and ".dvc" not in path.parts}


@pytest.fixture
def steps(monkeypatch) -> list[str]:
    """The name of the run of every step of training that is made."""
    names, step = [], training._step
    monkeypatch.setattr(training, "_step", lambda run, *rest: (names.append(run.name), step(run, *rest))[1])
    return names


def outputs(project: Path) -> dict[str, bytes]:
    folder = project / "data/concepts/autoencoders"
    return {path.name: path.read_bytes() for path in folder.rglob("*.safetensors")}


def rewrite(change):
    """An edit of the parameters: ``change`` of the group and its values."""
    group, values = change
    return lambda project, patch: write_params(project, params(**{group: values}))


def settings_of(variant: dict):
    return rewrite(("autoencoders", {"variants": {"causal": VARIANT | variant}}))


def another_text(project, patch):
    path = project / "data/trace/texts/toy.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines()
    path.write_text("".join(f"{line}\n" for line in reversed(lines)), encoding="utf-8")


def another_length(project, patch):
    write_params(project, params(concepts={"length": 8}))
    extract.main("one", "one")


def another_configuration(project, patch):
    """Of the language model, with the same weights and the same states."""
    path = project / "checkpoints/one/config.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(content | {"rms_norm_eps": 0.1}), encoding="utf-8")


def other_weights(project, patch):
    checkpoint(project / "checkpoints/one", "llama", 5)


def another_tokenizer(project, patch):
    """The same vocabulary, in which two words have changed places."""
    path = project / "checkpoints/one/tokenizer.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    vocabulary = content["model"]["vocab"]
    vocabulary["saw"], vocabulary["every"] = vocabulary["every"], vocabulary["saw"]
    path.write_text(json.dumps(content), encoding="utf-8")


def another_hierarchy(project, patch):
    from tests.support.concept_study import WORDS

    words = list(WORDS.items())
    write_hierarchy(project, dict([*words[1:8], words[0], *words[8:]]))


CHANGES = {
    "a setting": rewrite(("autoencoders", {"learning_rate": 0.01})),
    "the variant": settings_of({"k": 2}),
    "the noise": settings_of({"noise": [0.5]}),
    "the seeds": rewrite(("autoencoders", {"seeds": [7, 8]})),
    "the study's seed": rewrite(("concepts", {"seed": 1})),
    "the shrinkage": rewrite(("concepts", {"shrinkage": 0.5})),
    "held-out templates": rewrite(("concepts", {"held_out_templates": 2})),
    "tokens per batch": rewrite(("collect", {"tokens_per_batch": 64})),
    "the text's content": another_text,
    "the states, by the length of sequences": another_length,
    "the language model's configuration": another_configuration,
    "the language model's weights": other_weights,
    "the tokenizer": another_tokenizer,
    "the hierarchy": another_hierarchy,
    "the code": lambda project, patch: patch.setattr(scratch, "identity", lambda *modules: "other code"),
    "a library": lambda project, patch: patch.setattr(scratch, "version", lambda name: "0"),
    "the kind of device": lambda project, patch: patch.setattr(
        autoencoder_runs, "device", lambda: torch.device("cuda")
    ),
}


def test_nothing_changed_trains_nothing_and_gives_the_same_bytes(inside, steps):
    before = outputs(inside)
    autoencode.main()
    assert not steps and outputs(inside) == before


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_whatever_the_weights_depend_on_trains_them_anew(change, inside, steps, monkeypatch):
    change(inside, monkeypatch)
    autoencode.main()
    assert len(steps) == 4 and len(set(steps)) == 2  # two steps of two seeds


def test_other_texts_and_shrinkages_give_other_weights_under_the_same_settings(inside):
    before = outputs(inside)
    assert len(before) == 2
    another_text(inside, None)
    autoencode.main()
    other_text = outputs(inside)
    write_params(inside, params(concepts={"shrinkage": 0.5}))
    autoencode.main()
    assert all(other_text[name] != before[name] != outputs(inside)[name] for name in before)


def test_measures_of_autoencoders_may_be_edited_without_training(inside, steps):
    """The key holds the code that trains, and no code that only evaluates."""
    from stages.shared.code_identity import import_closure

    closure = import_closure("stages/concepts/autoencoder_runs.py")
    assert {f"stages/concepts/autoencoders/{name}.py" for name in ("losses", "training", "teacher")} <= set(closure)
    assert {"stages/models/loading.py", "stages/models/untrained.py", "stages/activations/token_stream.py"} <= set(
        closure
    )
    assert not {"stages/concepts/autoencoders/measures.py", "stages/concepts/autoencoder_evaluation.py"} & set(closure)
