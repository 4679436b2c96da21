"""Invent words for the invented worlds: pronounceable, distinct, one token each."""

from __future__ import annotations

import random

CONSONANTS = "bdfgklmnprstvz"
VOWELS = "aeiou"


def invent(rng: random.Random, count: int, syllables: int, ending: str = "") -> list[str]:
    """Return ``count`` distinct words of ``syllables`` consonant-vowel pairs plus ``ending``.

    Raises ValueError where fewer than twice as many words exist.
    """
    space = (len(CONSONANTS) * len(VOWELS)) ** syllables
    if count > space // 2:
        raise ValueError(f"{count} words of {syllables} syllables asked for, only {space} exist: use more syllables")
    words: dict[str, None] = {}
    while len(words) < count:  # ends: at least half of the space is free of repeats
        words["".join(rng.choice(CONSONANTS) + rng.choice(VOWELS) for _ in range(syllables)) + ending] = None
    return list(words)
