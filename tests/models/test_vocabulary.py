"""Rows of the unembedding that are words, and words that are one token."""

import numpy as np
import pytest
from concept_study import WORDS, tokenizer
from tiny_models import tiny_model, tiny_tokenizer

from stages.models.vocabulary import emitted_ids, single_tokens, unembedding
from stages.organisms.tokenizer import build_tokenizer


def test_special_tokens_and_rows_that_fill_the_matrix_are_no_words():
    tokens = tiny_tokenizer()
    found = emitted_ids(tokens, 64)
    assert found.tolist() == list(range(3, 40))
    assert emitted_ids(tokens, 10).tolist() == list(range(3, 10))


def test_what_the_tokenizer_never_makes_is_no_word():
    tokens = build_tokenizer(["a sum of two things"] * 5, ["glarp", "zorbit"], 60)
    found = set(emitted_ids(tokens, len(tokens)).tolist())
    assert {tokens.convert_tokens_to_ids("Ġglarp"), tokens.convert_tokens_to_ids("<think>")} <= found
    assert not found & set(tokens.all_special_ids)
    for index in found:
        token = tokens.convert_ids_to_tokens(index)
        assert tokens.backend_tokenizer.model.tokenize(token) or token in tokens.get_added_vocab()


def test_a_word_is_one_token_after_a_prefix_or_none():
    found = single_tokens(tokenizer(), "we saw the", [*list(WORDS)[:2], "unknown", "gibberish"])
    assert [found[word] for word in list(WORDS)[:2]] == tokenizer().convert_tokens_to_ids(list(WORDS)[:2])
    assert found["unknown"] is None and found["gibberish"] is None


@pytest.mark.parametrize("family", ["gpt2", "gpt_neox", "gemma2", "olmo3"])
def test_rows_are_those_that_make_logits(family):
    model = tiny_model(family).requires_grad_(False)  # as `load_model` gives it
    ids = np.array([5, 9, 30])
    np.testing.assert_array_equal(unembedding(model, ids), model.get_output_embeddings().weight.numpy()[ids])
