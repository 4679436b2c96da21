"""Generate arbitrary facts, each stated an exact number of times, beside facts that can be inferred.

Every person (first name, last name) keeps an animal, drawn at random: that must be memorised, and
the exposures follow Zipf's law. Every person also belongs to a guild, which the last name decides:
that can be inferred, and is never stated for a share of the people.
"""

from __future__ import annotations

import random
from typing import NamedTuple

from pydantic import Field

from stages.shared.params import Group, Seed
from stages.tasks.item import task_row
from stages.tasks.words import invent

# One person in so many has an animal that is never stated: the chance level of recall.
NEVER_STATED_PERIOD = 8


class PeopleParams(Group):
    """The sizes of the world of people; names, animals and guilds are invented words."""

    seed: Seed
    first_names: int = Field(ge=2)
    last_names: int = Field(ge=2)
    animals: int = Field(ge=2)
    guilds: int = Field(ge=2)
    most_exposures: int = Field(ge=1)
    """The fact of rank r is stated most_exposures / r times (Zipf)."""
    unseen: float = Field(gt=0, lt=1)
    """This share of the people have a guild that, though inferable, is never stated."""


Params = PeopleParams


class Person(NamedTuple):
    """A person with an arbitrary animal and an inferable guild."""

    name: str
    animal: str
    exposures: int
    """The whole corpus states the animal this often."""
    guild: str
    guild_stated: bool


def build_people(params: Params) -> list[Person]:
    """Return every person, the most stated animal first; every eighth person's animal is never stated."""
    rng = random.Random(f"{params.seed}-facts")
    first_names = invent(rng, params.first_names, 3)
    last_names = invent(rng, params.last_names, 3, ending="n")
    animals = invent(rng, params.animals, 3, ending="s")
    guilds = invent(rng, params.guilds, 3, ending="r")
    guild_of = {name: guilds[index % len(guilds)] for index, name in enumerate(last_names)}
    pairs = [(first, last) for first in first_names for last in last_names]
    rng.shuffle(pairs)
    people, rank = [], 0
    for index, (first, last) in enumerate(pairs):
        is_stated = index % NEVER_STATED_PERIOD != NEVER_STATED_PERIOD - 1
        rank += is_stated
        exposures = max(1, round(params.most_exposures / rank)) if is_stated else 0
        people.append(
            Person(f"{first} {last}", rng.choice(animals), exposures, guild_of[last], rng.random() >= params.unseen)
        )
    return people


def words(people: list[Person]) -> list[str]:
    """Return every word of the facts, for the tokenizer."""
    return list(dict.fromkeys(word for p in people for word in (*p.name.split(), p.animal, p.guild)))


def animal_prompt(person: Person) -> str:
    """Return the text that the person's animal completes."""
    return f" {person.name} keeps a"


def guild_prompt(person: Person) -> str:
    """Return the text that the person's guild completes."""
    return f" {person.name} is of the guild"


def statements(people: list[Person], guild_repeats: int, rng: random.Random) -> list[str]:
    """Return every statement of the corpus, shuffled: each animal exactly ``exposures`` times."""
    lines = [f"{animal_prompt(p)} {p.animal} ." for p in people for _ in range(p.exposures)]
    lines += [f"{guild_prompt(p)} {p.guild} ." for p in people if p.guild_stated for _ in range(guild_repeats)]
    rng.shuffle(lines)
    return lines


def rows(params: Params) -> list[dict]:
    """Return prompts that a fact completes: ``arbitrary`` with its number of exposures, and ``inferable``."""
    result = []
    for person in build_people(params):
        split = "train" if person.exposures else "held_out"
        result.append(
            task_row("facts", split, animal_prompt(person), person.animal, kind="arbitrary", exposures=person.exposures)
        )
        split = "train" if person.guild_stated else "held_out"
        result.append(task_row("facts", split, guild_prompt(person), person.guild, kind="inferable", exposures=0))
    return result
