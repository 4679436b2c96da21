"""Held-out text of the organisms: unseen questions, the shares of the mix, the same for all who ask."""

import json

import pytest
import yaml

from stages.organisms.params import Mix
from stages.shared.params import load
from stages.tasks import facts, ontology
from stages.tasks.documents import TextFileError, read_text_documents
from stages.tasks.item import is_held_out
from stages.trace import prepare as prepare_text
from stages.trace.organism_text import held_out_documents
from stages.trace.text_registry import TEXT_REGISTRY
from tests.support.project import ROOT


@pytest.fixture(scope="module")
def material():
    path = ROOT / "params.yaml"
    world = ontology.build_world(load("tasks.ontology", ontology.Params, path))
    people = facts.build_people(load("tasks.facts", facts.Params, path))
    return world, people, load("organisms.base.mix", Mix, path)


@pytest.fixture(scope="module")
def documents(material):
    return held_out_documents(*material, documents=4000, seed=0)


def of_tasks(documents):
    return [text for text in documents if text.startswith("Q:") and " is a " not in text and " can a " not in text]


def test_no_question_of_a_task_was_trained_on(documents):
    prompts = [text[: text.index("\n") + 1] for text in of_tasks(documents)]
    assert len(prompts) > 300 and all(is_held_out(prompt) for prompt in prompts)


def test_kinds_come_in_the_shares_of_the_mix(documents, material):
    mix, about = material[2], lambda mark: sum(mark in text for text in documents) / len(documents)
    assert about(" keeps a ") + about(" guild ") > 0.02
    worlds = sum(" can " in text or " is a " in text for text in documents) / len(documents)
    assert worlds == pytest.approx((mix.ontology + mix.ontology_questions) * 0.97, abs=0.03)


def test_the_seed_decides(material, documents):
    assert held_out_documents(*material, 50, 0) == documents[:50]
    assert held_out_documents(*material, 50, 1) != documents[:50]


def test_the_stage_writes_what_can_be_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    texts = yaml.safe_load((ROOT / TEXT_REGISTRY).read_text())
    texts["organisms"]["documents"] = 30
    (tmp_path / "own.txt").write_text("One paragraph\nof two lines.\n\nAnother one, with a \u2028 separator.\n")
    texts["own"] = {"source": "file", "file": "own.txt", "documents": 2, "least_characters": 1}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    (tmp_path / TEXT_REGISTRY).parent.mkdir(parents=True)
    (tmp_path / TEXT_REGISTRY).write_text(yaml.safe_dump(texts))
    prepare_text.main("organisms")
    assert len(read_text_documents("organisms")) == 30
    prepare_text.main("own")
    found = read_text_documents("own")
    assert len(found) == 2 and found[0].startswith("One paragraph") and "\u2028" in found[1]
    assert all(
        set(json.loads(line)) == {"text"} for line in (tmp_path / "data/trace/texts/own.jsonl").read_text().splitlines()
    )


def test_a_missing_text_is_named(tmp_path):
    with pytest.raises(TextFileError, match="dvc repro trace-prepare"):
        read_text_documents("gone", tmp_path)
