"""The corpus: what is held out is never said, and each fact is said exactly as often as it must be."""

import random
import re

import pytest

from stages.organisms.corpus import draw_task_document, load_worlds, pretraining_documents
from stages.organisms.params import Mix
from stages.shared.params import load
from stages.tasks import facts, ontology
from stages.tasks.item import is_held_out
from tests.support.project import ROOT

ONTOLOGY = ontology.Params(
    seed=0,
    parents_per_super=4,
    children_per_parent=8,
    properties=4,
    own_attributes=12,
    held_out_children=0.25,
    held_out_properties=0.15,
)
FACTS = facts.Params(seed=0, first_names=6, last_names=4, animals=8, guilds=2, most_exposures=40, unseen=0.25)
MIX = Mix(ontology=0.5, ontology_questions=0.3, statements=0.2, short=0.4, wrong=0.1, guild_repeats=3)


@pytest.fixture(scope="module")
def world():
    return ontology.build_world(ONTOLOGY)


@pytest.fixture(scope="module")
def people():
    return facts.build_people(FACTS)


@pytest.fixture(scope="module")
def corpus(world, people):
    return pretraining_documents(world, people, MIX, 6000, seed=3)


def sentences(document: str) -> list[str]:
    """Its statements and questions, each as words between spaces."""
    return re.split(r" \.|<eos>", document.replace("\nA:", " A:").replace("\n", " "))


def test_no_sentence_says_what_a_held_out_child_is(world, corpus):
    assert len(world.held_out) == 16
    kinds = {*world.super, *world.super.values()}
    told = 0
    for document in corpus:
        for sentence in sentences(document):
            words = set(sentence.split())
            told += bool(words & (set(world.children) - world.held_out)) and bool(words & kinds)
            if "every" not in words:  # "every bird can ..." names no child
                assert not (words & world.held_out and words & kinds), sentence
    assert told > 1000  # of the other children it is said


def test_unseen_properties_are_never_stated(world, corpus):
    names = {name for names in world.properties.values() for name in names}
    stated = {
        (child, name)
        for document in corpus
        for words in map(set, map(str.split, sentences(document)))
        for child in words & set(world.children)
        for name in words & names
    }
    assert not stated & world.unseen
    assert len(stated) > 500  # other pairs are


def test_each_fact_is_stated_exactly_as_often_as_its_exposures(people, corpus):
    text = "".join(corpus)
    for person in people:
        assert text.count(f"{facts.animal_prompt(person)} {person.animal} .") == person.exposures
        assert text.count(facts.animal_prompt(person)) == person.exposures  # and no other animal
        assert text.count(facts.guild_prompt(person)) == (MIX.guild_repeats if person.guild_stated else 0)
    exposures = sorted((person.exposures for person in people if person.exposures), reverse=True)
    assert exposures[:4] == [40, 20, 13, 10]
    assert any(person.exposures == 0 for person in people)


def test_facts_that_do_not_fit_are_an_error(world, people):
    with pytest.raises(ValueError, match="the facts need"):
        pretraining_documents(world, people, MIX, 40, seed=0)


def test_the_corpus_depends_on_its_seed_alone(world, people, corpus):
    assert pretraining_documents(world, people, MIX, 6000, seed=3) == corpus
    assert pretraining_documents(world, people, MIX, 6000, seed=4) != corpus


@pytest.mark.parametrize("split", ["train", "held_out"])
def test_task_documents_ask_questions_of_their_split_alone(split):
    rng = random.Random(0)
    documents = [draw_task_document(MIX, split, rng) for _ in range(400)]
    prompts = [text[: text.index("\n") + 1] for text in documents if text.startswith("Q:")]
    assert len(prompts) > 250
    assert all(is_held_out(prompt) == (split == "held_out") for prompt in prompts)


def test_the_worlds_are_those_that_the_parameters_describe():
    world, people = load_worlds(ROOT / "params.yaml")
    assert world == ontology.build_world(load("tasks.ontology", ontology.Params, ROOT / "params.yaml"))
    assert people == facts.build_people(load("tasks.facts", facts.Params, ROOT / "params.yaml"))
