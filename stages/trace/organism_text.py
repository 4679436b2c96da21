"""Draw text that no organism was trained on, of the same kinds and in the same shares as the pretraining corpus."""

from __future__ import annotations

import random

from stages.organisms.corpus import SENTENCES_PER_DOCUMENT, draw_document
from stages.organisms.params import Mix
from stages.tasks import facts, ontology

# The share of the documents about facts: about that of the default corpus, where exposures fix their number.
FACTS = 0.03


def held_out_documents(
    world: ontology.World, people: list[facts.Person], mix: Mix, documents: int, seed: int
) -> list[str]:
    """Return ``documents`` of them: questions of the held-out split, and newly drawn sentences about the two worlds.

    What is stated about the worlds is what the corpus states, in other combinations, facts by their exposures. The text
    is the same for all families, whose corpora differ in their draws.
    """
    rng = random.Random(f"{seed}-held-out")
    lines = facts.statements(people, mix.guild_repeats, rng)
    return [
        "".join(rng.sample(lines, SENTENCES_PER_DOCUMENT))
        if rng.random() < FACTS
        else draw_document(world, mix, "held_out", rng)
        for _ in range(documents)
    ]
