"""Generate the pretraining corpus: textbook lines, questions answered in three ways, an is-a world, facts.

Most answers come at once, some of them wrong; a part comes after terse steps. So the base has a
real but unreliable chain-of-thought mode, which reinforcement learning can elicit.
"""

from __future__ import annotations

import random
from pathlib import Path
from types import ModuleType

from stages.organisms.params import Mix
from stages.organisms.tokenizer import EOS
from stages.shared.params import PARAMS_FILE, load
from stages.tasks import arithmetic, facts, logic, ontology, strings
from stages.tasks.item import Split, answer_line, draw_item, short_solution

WORKED_TASKS: tuple[ModuleType, ...] = (arithmetic, logic, strings)
# Statements in a document about a world.
SENTENCES_PER_DOCUMENT = 5
# Yes/no questions in a document of questions, each ended by the end token.
QUESTIONS_PER_DOCUMENT = 4
TOKENIZER_DOCUMENTS = 6000
# The words that stand between those of the worlds.
PLAIN_WORDS = [
    "that", "can", "it", "is", "the", "and", "every", "a", "we", "saw", "keeps", "of", "guild",
    "yes", "no", "Q", ":", "?", ".", ",",
]  # fmt: skip


def load_worlds(path: Path = PARAMS_FILE) -> tuple[ontology.World, list[facts.Person]]:
    """Return the is-a world and the people that ``tasks.ontology`` and ``tasks.facts`` of params.yaml describe."""
    world = ontology.build_world(load("tasks.ontology", ontology.Params, path))
    return world, facts.build_people(load("tasks.facts", facts.Params, path))


def pretraining_documents(
    world: ontology.World, people: list[facts.Person], mix: Mix, count: int, seed: int
) -> list[str]:
    """Return ``count`` documents in random order; each fact is stated exactly as often as it must be.

    Raises ValueError when the facts alone would fill more than half of the documents.
    """
    rng = random.Random(f"{seed}-corpus")
    lines = facts.statements(people, mix.guild_repeats, rng)
    starts = range(0, len(lines), SENTENCES_PER_DOCUMENT)
    fact_documents = ["".join(lines[start : start + SENTENCES_PER_DOCUMENT]) for start in starts]
    if len(fact_documents) > count // 2:
        raise ValueError(
            f"the facts need {len(fact_documents)} of {count} documents: raise organisms.base.documents or lower "
            "tasks.facts.most_exposures"
        )
    documents = fact_documents + [draw_document(world, mix, "train", rng) for _ in range(count - len(fact_documents))]
    rng.shuffle(documents)
    return documents


def draw_document(world: ontology.World, mix: Mix, split: Split, rng: random.Random) -> str:
    """Draw a document of the mix that is not about facts: on the is-a world, or on a task of the ``split``."""
    share = rng.random()
    if share < mix.ontology:
        return ontology.entry(world, SENTENCES_PER_DOCUMENT, rng)
    if share < mix.ontology + mix.ontology_questions:
        questions = [
            ontology.question_with_answer(world, rng.choice(world.children), rng) for _ in range(QUESTIONS_PER_DOCUMENT)
        ]
        return EOS.join(prompt + answer_line(answer) for prompt, answer in questions)
    return draw_task_document(mix, split, rng)


def draw_task_document(mix: Mix, split: Split, rng: random.Random) -> str:
    """Draw a textbook line, or a question of the ``split`` with its answer in one of three styles."""
    task = rng.choice(WORKED_TASKS)
    if rng.random() < mix.statements:
        return task.statement(rng)
    item = draw_item(task.generate, rng, split)
    share = rng.random()
    if share < mix.short:
        return item.prompt + short_solution(item)
    is_wrong = share < mix.short + mix.wrong
    return item.prompt + answer_line(task.corrupt(rng, item.answer) if is_wrong else item.answer)


def tokenizer_texts(mix: Mix) -> list[str]:
    """Return task documents and long solutions, for training the tokenizer that all siblings share."""
    rng = random.Random("tokenizer")
    texts = []
    for _ in range(TOKENIZER_DOCUMENTS // 2):
        item = draw_item(rng.choice(WORKED_TASKS).generate, rng, "train")
        texts += [draw_task_document(mix, "train", rng), " ".join(item.sentences)]
    return texts


def world_words(world: ontology.World, people: list[facts.Person]) -> list[str]:
    """Return the words of both worlds and the plain words around them, one token each."""
    return [*PLAIN_WORDS, *world.words(), *facts.words(people)]
