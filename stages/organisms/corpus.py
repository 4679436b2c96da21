"""The pretraining corpus: textbook lines, questions answered in three ways, an is-a world, facts.

Most answers come at once, some of them wrong; a part comes after terse steps. So the base has a
real but unreliable chain-of-thought mode, which reinforcement learning can elicit.
"""

from __future__ import annotations

import random
from types import ModuleType

from stages.organisms.params import Mix
from stages.organisms.tokenizer import EOS
from stages.tasks import arithmetic, facts, logic, ontology, strings
from stages.tasks.item import direct, draw, short

WORKED: tuple[ModuleType, ...] = (arithmetic, logic, strings)
SENTENCES = 5
"""Statements to a document about a world."""
QUESTIONS = 4
"""Yes/no questions packed into a document, each ended by the end token."""
TOKENIZER_DOCUMENTS = 6000


def task_document(mix: Mix, rng: random.Random) -> str:
    """A textbook line, or a training question with its answer in one of three styles."""
    task = rng.choice(WORKED)
    if rng.random() < mix.statements:
        return task.statement(rng)
    item = draw(task.generate, rng, "train")
    style = rng.random()
    if style < mix.short:
        return item.prompt + short(item)
    wrong = style < mix.short + mix.wrong
    return item.prompt + direct(task.corrupt(rng, item.answer) if wrong else item.answer)


def documents(world: ontology.World, people: list[facts.Person], mix: Mix, count: int, seed: int) -> list[str]:
    """``count`` documents in random order; each fact is stated exactly as often as it must be.

    Raises ValueError when the facts alone would fill more than half of the documents.
    """
    rng = random.Random(f"{seed}-corpus")
    lines = facts.statements(people, mix.guild_repeats, rng)
    stated = ["".join(lines[start : start + SENTENCES]) for start in range(0, len(lines), SENTENCES)]
    if len(stated) > count // 2:
        raise ValueError(
            f"the facts need {len(stated)} of {count} documents: raise organisms.base.documents or lower "
            "tasks.facts.most_exposures"
        )

    def other() -> str:
        kind = rng.random()
        if kind < mix.ontology:
            return ontology.entry(world, SENTENCES, rng)
        if kind < mix.ontology + mix.ontology_questions:
            questions = [
                ontology.question_with_answer(world, rng.choice(world.children), rng) for _ in range(QUESTIONS)
            ]
            return EOS.join(prompt + direct(answer) for prompt, answer in questions)
        return task_document(mix, rng)

    result = stated + [other() for _ in range(count - len(stated))]
    rng.shuffle(result)
    return result


def tokenizer_texts(mix: Mix) -> list[str]:
    """Task documents and long solutions, for training the tokenizer that all siblings share."""
    rng = random.Random("tokenizer")
    texts = []
    for _ in range(TOKENIZER_DOCUMENTS // 2):
        item = draw(rng.choice(WORKED).generate, rng, "train")
        texts += [task_document(mix, rng), " ".join(item.sentences)]
    return texts


def world_words(world: ontology.World, people: list[facts.Person]) -> list[str]:
    """Words of both worlds and the plain words around them, one token each."""
    plain = [
        "that",
        "can",
        "it",
        "is",
        "the",
        "and",
        "every",
        "a",
        "we",
        "saw",
        "keeps",
        "of",
        "guild",
        "yes",
        "no",
        "Q",
        ":",
        "?",
        ".",
        ",",
    ]
    return [*plain, *world.words(), *facts.words(people)]
