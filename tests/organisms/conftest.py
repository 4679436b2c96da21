"""A tiny untrained family: the real tokenizer and architecture, two layers wide 16."""

import copy

import pytest
import torch

from stages.organisms.architecture import build_model
from stages.organisms.corpus import pretraining_documents, tokenizer_texts, world_words
from stages.organisms.params import Architecture, Evaluation, Finetuning, Mix
from stages.organisms.tokenizer import build_tokenizer
from stages.tasks import arithmetic, facts, ontology
from stages.tasks.item import Sizes

MIX = Mix(ontology=0.3, ontology_questions=0.1, statements=0.2, short=0.4, wrong=0.1, guild_repeats=2)
ARCHITECTURE = Architecture(
    layers=2,
    width=16,
    mlp_width=32,
    heads=2,
    sliding_window=16,
    embedding_std=1.0,
    post_norm_gain=0.3,
    bpe_vocabulary=250,
)
EVALUATION = Evaluation(prompts=20, kl_prompts=10, new_tokens=12, seed=1)
FINETUNING = Finetuning(
    parent="base", style="long", steps=12, batch=8, learning_rate=3e-3, schedule="constant", checkpoints=2, stop=None
)


def train_rows(rows):
    return [row for row in rows if row["split"] == "train"]


def same_weights(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters(), strict=True))


@pytest.fixture(scope="session")
def worlds():
    world = ontology.build_world(
        ontology.Params(
            seed=0,
            parents_per_super=2,
            children_per_parent=8,
            properties=2,
            own_attributes=6,
            held_out_children=0.25,
            held_out_properties=0.15,
        )
    )
    people = facts.build_people(
        facts.Params(seed=0, first_names=4, last_names=4, animals=8, guilds=2, most_exposures=20, unseen=0.25)
    )
    return world, people


@pytest.fixture(scope="session")
def texts(worlds):
    return pretraining_documents(*worlds, MIX, 1200, seed=0)


@pytest.fixture(scope="session")
def tokenizer(worlds):
    return build_tokenizer(tokenizer_texts(MIX), world_words(*worlds), ARCHITECTURE.bpe_vocabulary)


@pytest.fixture(scope="session")
def _model(tokenizer):
    return build_model(ARCHITECTURE, tokenizer, seed=0)


@pytest.fixture
def model(_model):
    """A fresh copy for every test, since training changes it."""
    return copy.deepcopy(_model)


@pytest.fixture
def base(_model):
    return copy.deepcopy(_model)


@pytest.fixture(scope="session")
def rows():
    """Training rows of one task, with the task's name as the readers add it."""
    return [{**row, "task": "arithmetic"} for row in arithmetic.rows(Sizes(seed=0, train=40, held_out=40))]
