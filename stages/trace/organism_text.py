"""Text that no organism was trained on, of the same kinds and in the same shares as the pretraining corpus."""

from __future__ import annotations

import random

from stages.organisms.corpus import QUESTIONS, SENTENCES, WORKED
from stages.organisms.params import Mix
from stages.organisms.tokenizer import EOS
from stages.tasks import facts, ontology
from stages.tasks.item import direct, draw, short

FACTS = 0.03
"""Share of the documents about facts, about that of the default corpus, where their number is fixed by the exposures."""


def held_out_documents(
    world: ontology.World, people: list[facts.Person], mix: Mix, documents: int, seed: int
) -> list[str]:
    """``documents`` of them: questions of the held-out split, and newly drawn sentences about the two worlds.

    What is stated about the worlds is what the corpus states, in other combinations, facts by their exposures. The text
    is the same for all families, whose corpora differ in their draws.
    """
    rng = random.Random(f"{seed}-held-out")
    lines = facts.statements(people, mix.guild_repeats, rng)
    return [
        "".join(rng.sample(lines, SENTENCES)) if rng.random() < FACTS else _other(world, mix, rng)
        for _ in range(documents)
    ]


def _other(world: ontology.World, mix: Mix, rng: random.Random) -> str:
    kind = rng.random()
    if kind < mix.ontology:
        return ontology.entry(world, SENTENCES, rng)
    if kind < mix.ontology + mix.ontology_questions:
        questions = [ontology.question_with_answer(world, rng.choice(world.children), rng) for _ in range(QUESTIONS)]
        return EOS.join(prompt + direct(answer) for prompt, answer in questions)
    task = rng.choice(WORKED)
    if rng.random() < mix.statements:
        return task.statement(rng)
    item = draw(task.generate, rng, "held_out")
    style = rng.random()
    if style < mix.short:
        return item.prompt + short(item)
    wrong = style < mix.short + mix.wrong
    return item.prompt + direct(task.corrupt(rng, item.answer) if wrong else item.answer)
