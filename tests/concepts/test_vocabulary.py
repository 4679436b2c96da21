"""Rows of the unembedding that are words, and words that are one token."""

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from stages.concepts.head import head_of
from stages.concepts.vocabulary import emitted_ids, single_tokens
from stages.organisms.tokenizer import build_tokenizer
from tests.support.concept_study import WORDS, tokenizer
from tests.support.tiny_models import tiny_model, tiny_tokenizer


def test_special_tokens_and_rows_that_fill_the_matrix_are_no_words():
    tokens = tiny_tokenizer()
    found = emitted_ids(tokens, 64)
    assert found.tolist() == list(range(3, 40))
    assert emitted_ids(tokens, 10).tolist() == list(range(3, 10))


def test_an_entry_that_no_merge_reaches_is_no_word():
    vocabulary = {"<pad>": 0, "a": 1, "b": 2, "c": 3, "ab": 4, "bc": 5, "abc": 6}
    core = Tokenizer(models.BPE(vocab=vocabulary, merges=[("a", "b")]))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokens = PreTrainedTokenizerFast(tokenizer_object=core, pad_token="<pad>")
    assert emitted_ids(tokens, 7).tolist() == [1, 2, 3, 4]
    assert single_tokens(tokens, "a", ["ab", "abc"]) == {"ab": 4, "abc": None}


def test_whole_words_and_markers_of_the_organisms_are_words():
    tokens = build_tokenizer(["a sum of two things"] * 5, ["glarp", "zorbit"], 60)
    found = set(emitted_ids(tokens, len(tokens)).tolist())
    assert {tokens.convert_tokens_to_ids("Ġglarp"), tokens.convert_tokens_to_ids("<think>")} <= found
    assert not found & set(tokens.all_special_ids)


def test_a_word_is_one_token_after_a_prefix_or_none():
    found = single_tokens(tokenizer(), "we saw the", [*list(WORDS)[:2], "unknown", "gibberish"])
    assert [found[word] for word in list(WORDS)[:2]] == tokenizer().convert_tokens_to_ids(list(WORDS)[:2])
    assert found["unknown"] is None and found["gibberish"] is None


@pytest.mark.parametrize("family", ["gpt2", "gpt_neox", "gemma2", "olmo3"])
def test_rows_are_those_that_make_logits(family):
    model = tiny_model(family).requires_grad_(False)  # as `load_model` gives it
    ids = np.array([5, 9, 30])
    np.testing.assert_array_equal(head_of(model).unembedding(ids), model.get_output_embeddings().weight.numpy()[ids])
