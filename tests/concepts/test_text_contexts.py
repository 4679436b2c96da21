"""Contexts end before a word of the ontology, each from a document of its own; the text is divided once."""

import numpy as np
import pytest

from stages.concepts import text_contexts as contexts
from stages.concepts.text_contexts import LONGEST, ContextError, find_contexts, trained_part
from tests.support.concept_study import WORDS, documents, tokenizer


def by_id() -> dict[int, str]:
    return {tokenizer().convert_tokens_to_ids(word): word for word in WORDS}


def test_a_word_of_the_ontology_follows_each_context():
    tokens, texts = tokenizer(), documents()
    found = find_contexts(tokens, texts, by_id(), 20, 0)
    assert len(found.rows) == len(found.word) == 20
    encoded = [ids[: LONGEST + 1] for ids in tokens(texts)["input_ids"]]
    for row, word in zip(found.rows, found.word, strict=True):
        assert len(row) >= 2
        follows = [ids for ids in encoded if ids[: len(row)] == row.tolist() and len(ids) > len(row)]
        assert tokens.convert_tokens_to_ids(word) in {ids[len(row)] for ids in follows}


def test_the_draw_depends_on_the_seed_alone():
    one, same, other = (find_contexts(tokenizer(), documents(), by_id(), 20, seed) for seed in (0, 0, 1))
    assert all(np.array_equal(*pair) for pair in zip(one.rows, same.rows, strict=True))
    assert one.word != other.word


def test_a_text_without_such_words_is_an_error_that_says_what_to_do():
    with pytest.raises(ContextError, match="none of 2 documents has one of the 32 words"):
        find_contexts(tokenizer(), ["we saw it", "it is"], by_id(), 5, 0)


def test_training_and_testing_share_no_document():
    texts = [str(i) for i in range(100)]
    assert len(trained_part(texts)) == 75 and [*trained_part(texts), *contexts.tested_part(texts)] == texts
