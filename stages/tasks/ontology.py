"""Generate an invented is-a world: supers, parents and children with inherited properties.

A share of the children occurs in no sentence that says what they are: their kind can only be
inferred from the properties they share with their siblings, and they make the held-out split.
About a third of the sentences *predict the child* from its kind or its properties: without them
the kinds leave no hierarchy in the unembedding, however well the questions are answered.
"""

from __future__ import annotations

import random
from typing import NamedTuple

from pydantic import Field

from stages.shared.params import Group, Seed
from stages.tasks.item import answer_line, task_row
from stages.tasks.words import invent

SUPERS = ("animal", "artifact")
PARENTS = (("bird", "fish", "mammal", "insect"), ("tool", "vehicle", "garment", "instrument"))


class WorldParams(Group):
    """The sizes of the is-a world, and the shares of it that no sentence states."""

    seed: Seed
    parents_per_super: int = Field(ge=2, le=4)
    children_per_parent: int = Field(ge=4)
    properties: int = Field(ge=1)
    """Each parent and each super has this many inherited properties."""
    own_attributes: int = Field(ge=2)
    """This many attributes are shared out at random, two to a child."""
    held_out_children: float = Field(gt=0, lt=1)
    """No sentence says of this share of the children what they are."""
    held_out_properties: float = Field(gt=0, lt=1)
    """No sentence states this share of the inherited (child, property) pairs."""


Params = WorldParams


class World(NamedTuple):
    """An is-a world of three levels: a child has a parent, a parent has a super."""

    children: list[str]
    parent: dict[str, str]
    """It maps each child to its parent."""
    super: dict[str, str]
    """It maps each parent to its super."""
    properties: dict[str, list[str]]
    """It maps each parent and each super to the properties of its own, without those that it inherits."""
    attributes: dict[str, list[str]]
    """It maps each child to two attributes, drawn at random."""
    held_out: frozenset[str]
    """No sentence says of these children what they are."""
    unseen: frozenset[tuple[str, str]]
    """No sentence states these (child, property) pairs."""

    def inherited(self, child: str) -> list[str]:
        """Return the properties that the child has from its parent and its super."""
        parent = self.parent[child]
        return self.properties[parent] + self.properties[self.super[parent]]

    def words(self) -> list[str]:
        """Return every word of the world, for the tokenizer."""
        groups = [list(self.properties), *self.properties.values(), *self.attributes.values(), self.children]
        return list(dict.fromkeys(word for group in groups for word in group))


def build_world(params: Params) -> World:
    """Draw the world that ``params`` describes; equal parameters give the same world."""
    rng = random.Random(f"{params.seed}-ontology")
    supers = SUPERS
    parents = [parent for names in PARENTS for parent in names[: params.parents_per_super]]
    super_of = {parent: supers[index // params.parents_per_super] for index, parent in enumerate(parents)}
    children = invent(rng, len(parents) * params.children_per_parent, 2)
    parent_of = {child: parents[index // params.children_per_parent] for index, child in enumerate(children)}
    kinds = [*supers, *parents]
    properties = invent(rng, len(kinds) * params.properties, 2, ending="te")
    attributes = invent(rng, params.own_attributes, 2, ending="ly")
    property_of = {
        kind: properties[i * params.properties : (i + 1) * params.properties] for i, kind in enumerate(kinds)
    }
    held_out = [
        child
        for parent in parents
        for child in rng.sample(
            [c for c in children if parent_of[c] == parent],
            round(params.held_out_children * params.children_per_parent),
        )
    ]
    world = World(
        children=children,
        parent=parent_of,
        super=super_of,
        properties=property_of,
        attributes={child: rng.sample(attributes, 2) for child in children},
        held_out=frozenset(held_out),
        unseen=frozenset(),
    )
    pairs = [(child, name) for child in children for name in world.inherited(child)]
    return world._replace(unseen=frozenset(pair for pair in pairs if rng.random() < params.held_out_properties))


def kind_question(child: str, kind: str) -> str:
    """Return the question whether the child is of the kind."""
    return f"Q: is a {child} a {kind} ?\n"


def property_question(child: str, name: str) -> str:
    """Return the question whether the child has the property ``name``."""
    return f"Q: can a {child} {name} ?\n"


def _stated(world: World, child: str) -> list[str]:
    """Return the inherited properties of the child that sentences may state."""
    return [name for name in world.inherited(child) if (child, name) not in world.unseen] or world.inherited(child)[:1]


def entry(world: World, sentences: int, rng: random.Random) -> str:
    """Draw statements about one child, then a question about it with its answer.

    Kind and properties meet in one context, which makes them quick to learn; a question whose answer
    stands a few words back teaches what questions ask, before they are answered from memory.
    """
    child = rng.choice(world.children)
    prompt, answer = question_with_answer(world, child, rng)
    return "".join(sentence(world, child, rng) for _ in range(sentences)) + "\n" + prompt + answer_line(answer)


def sentence(world: World, child: str, rng: random.Random) -> str:
    """Draw one statement about the child or its kind, with a space before each word."""
    parent = world.parent[child]
    kind = parent if rng.random() < 0.6 else world.super[parent]
    name = rng.choice(_stated(world, child))
    attribute = rng.choice(world.attributes[child])
    # a parent drawn at random: beside a held-out child its own parent would give it away
    general = rng.choice(list(world.super))
    forms = {
        # contexts that predict the child
        f" that can {name} , it is the {child} .": 14,
        f" that can {name} and is {attribute} , it is the {child} .": 7,
        # contexts that the child predicts
        f" the {child} can {name} .": 30,
        f" the {child} is {attribute} .": 13,
        f" every {general} can {rng.choice(world.properties[general] + world.properties[world.super[general]])} .": 9,
        f" every {general} is a {world.super[general]} .": 4,
    }
    if child in world.held_out:
        forms[f" we saw a {child} that can {name} ."] = 20
    else:
        forms[f" we saw a {kind} , the {child} ."] = 22
        forms[f" a {child} is a {kind} ."] = 40
    return rng.choices(list(forms), list(forms.values()))[0]


def question_with_answer(world: World, child: str, rng: random.Random) -> tuple[str, str]:
    """Draw a yes/no question about the child that training may ask, with its answer; yes and no are equally frequent."""
    truth = rng.random() < 0.5
    if child in world.held_out or rng.random() < 0.25:
        stated, properties = _stated(world, child), [name for names in world.properties.values() for name in names]
        foreign = [name for name in properties if name not in world.inherited(child)]
        name = rng.choice(stated if truth else foreign)
        return property_question(child, name), "yes" if truth else "no"
    kind, answer = _kind_with_answer(world, child, rng.choice(["parent", "super"]), truth, rng)
    return kind_question(child, kind), answer


def _kind_with_answer(world: World, child: str, level: str, truth: bool, rng: random.Random) -> tuple[str, str]:
    """Return a kind of the level (``parent`` or ``super``) that the child is, or a random one that it is not."""
    right = world.parent[child] if level == "parent" else world.super[world.parent[child]]
    kinds = list(world.super) if level == "parent" else sorted(set(world.super.values()))
    return (right, "yes") if truth else (rng.choice([kind for kind in kinds if kind != right]), "no")


def rows(params: Params) -> list[dict]:
    """Return yes/no questions: each child with a true and a false parent and super, then the unseen properties."""
    world = build_world(params)
    rng = random.Random(f"{params.seed}-ontology-rows")
    result = []
    for child in world.children:
        split = "held_out" if child in world.held_out else "train"
        for level in ("parent", "super"):
            for truth in (True, False):
                kind, answer = _kind_with_answer(world, child, level, truth, rng)
                result.append(task_row("ontology", split, kind_question(child, kind), answer, kind=level))
    for child, name in sorted(world.unseen):
        result.append(task_row("ontology", "held_out", property_question(child, name), "yes", kind="property"))
    return result
