"""Rows of the unembedding that are words, and words that are one token."""

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from stages.concepts.vocabulary import emitted_ids, single_tokens, unembedding
from stages.organisms.tokenizer import build_tokenizer
from tests.support.concept_study import WORDS, tokenizer
from tests.support.tiny_models import tiny_model, tiny_tokenizer
from tests.support.tiny_tokenizers import llama_tokenizer, unigram_tokenizer


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


def emitted_of_characters(tokens):
    """The slow way: the ids that the tokenizer makes of characters, low ones and each 61st of the others."""
    codes = [*range(0x3000), *range(0x3000, 0x110000, 61)]
    characters = [chr(code) for code in codes if not 0xD800 <= code < 0xE000]
    encodings = tokens.backend_tokenizer.encode_batch(characters, add_special_tokens=False)
    return {index for encoding in encodings for index in encoding.ids}


@pytest.mark.parametrize("make", [llama_tokenizer, unigram_tokenizer], ids=["BPE", "unigram"])
def test_the_token_of_a_byte_is_text_where_some_character_has_the_byte(make):
    """Of a line break and of Chinese, not of letters that are tokens themselves, nor of bytes that UTF-8 never has."""
    tokens = make()
    bytes_ids = {tokens.convert_tokens_to_ids(f"<0x{byte:02X}>"): byte for byte in range(256)}
    emitted = set(emitted_ids(tokens, len(tokens)).tolist())
    assert emitted & set(bytes_ids) == emitted_of_characters(tokens) & set(bytes_ids)
    bytes_of_text = {bytes_ids[index] for index in emitted & set(bytes_ids)}
    assert set("\n字".encode()) <= bytes_of_text and not bytes_of_text & {ord("a"), 0xC0, 0xC1, 0xF5, 0xFF}
    assert set(tokens("we saw 字\n", add_special_tokens=False)["input_ids"]) - {tokens.unk_token_id} <= emitted


def test_a_word_that_looks_like_a_byte_is_no_text_where_nothing_falls_back_on_bytes():
    core = Tokenizer(models.BPE(vocab={"<pad>": 0, "a": 1, "<0x0A>": 2}, merges=[]))
    tokens = PreTrainedTokenizerFast(tokenizer_object=core, pad_token="<pad>")
    assert emitted_ids(tokens, 3).tolist() == [1]


def test_a_word_is_one_token_after_a_prefix_or_none():
    found = single_tokens(tokenizer(), "we saw the", [*list(WORDS)[:2], "unknown", "gibberish"])
    assert [found[word] for word in list(WORDS)[:2]] == tokenizer().convert_tokens_to_ids(list(WORDS)[:2])
    assert found["unknown"] is None and found["gibberish"] is None


@pytest.mark.parametrize("family", ["gpt2", "gpt_neox", "gemma2", "olmo3"])
def test_rows_are_those_that_make_logits(family):
    model = tiny_model(family).requires_grad_(False)  # as `load_model` gives it
    ids = np.array([5, 9, 30])
    np.testing.assert_array_equal(unembedding(model, ids), model.get_output_embeddings().weight.numpy()[ids])
