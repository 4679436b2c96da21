"""The is-a world: questions are balanced and right, and the rows hold out the children without a kind."""

import random
from collections import Counter

import pytest

from stages.tasks import ontology

ONTOLOGY = ontology.Params(
    seed=0,
    parents_per_super=4,
    children_per_parent=8,
    properties=4,
    own_attributes=12,
    held_out_children=0.25,
    held_out_properties=0.15,
)


@pytest.fixture(scope="module")
def world():
    return ontology.build_world(ONTOLOGY)


def test_questions_are_balanced_and_right(world):
    rng = random.Random(0)
    answers = Counter()
    for _ in range(2000):
        prompt, answer = ontology.question_with_answer(world, rng.choice(world.children), rng)
        words = prompt.split()
        child, asked = (words[3], words[5]) if words[1] == "is" else (words[3], words[4])
        if words[1] == "is":
            assert child not in world.held_out
            truth = asked in (world.parent[child], world.super[world.parent[child]])
        else:
            truth = asked in world.inherited(child)
        assert (answer == "yes") == truth
        answers[answer] += 1
    assert 0.45 < answers["yes"] / 2000 < 0.55


def test_rows_hold_out_the_children_without_a_kind(world):
    rows = ontology.rows(ONTOLOGY)
    asked = {row["prompt"].split()[3]: row["split"] for row in rows if row["kind"] in ("parent", "super")}
    assert {child for child, split in asked.items() if split == "held_out"} == world.held_out
    assert len({row["id"] for row in rows}) == len(rows)
    shares = Counter(row["answer"] for row in rows if row["kind"] == "parent")
    assert shares["yes"] == shares["no"] == len(world.children)
