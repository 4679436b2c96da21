"""Invented words are distinct, and as many as were asked for or an error."""

import random

import pytest

from stages.tasks.words import invent


def test_words_are_distinct_and_end_as_they_should():
    words = invent(random.Random(0), 30, 1, ending="te")
    assert len(set(words)) == 30 and all(len(word) == 4 and word.endswith("te") for word in words)


def test_too_many_words_are_an_error():
    with pytest.raises(ValueError, match="more syllables"):
        invent(random.Random(0), 1000, 1)
