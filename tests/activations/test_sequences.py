"""One frozen token set: sequences of one length, each from the beginning of a document."""

import numpy as np
import pytest

from stages.activations.sequences import sequences
from stages.activations.tokens import CollectionError
from tests.support.tiny_models import tiny_tokenizer

DOCUMENTS = ["w3 w4 w5", "w6", "w7 w8 w9 w10 w11 w12 w13 w14", "w15 w16 w17 w18"]


def test_documents_follow_each_other_and_what_is_cut_is_not_used_again():
    found = sequences(tiny_tokenizer(), DOCUMENTS, 2, 7)
    # <bos> w3 w4 w5 <eos> <bos> w6 | the rest of the second document is dropped; then the third
    assert found.ids.tolist() == [[1, 3, 4, 5, 2, 1, 6], [1, 7, 8, 9, 10, 11, 12]]
    assert found.content.tolist() == [[False, True, True, True, False, False, True], [False, *[True] * 6]]


def test_a_document_of_just_the_length_fills_a_sequence():
    assert sequences(tiny_tokenizer(), ["w3 w4", "w5 w6"], 2, 4).ids.tolist() == [[1, 3, 4, 2], [1, 5, 6, 2]]


def test_too_little_text_is_an_error_that_counts():
    with pytest.raises(CollectionError, match="gives 2 sequences of 7 tokens, 3 asked for: raise the documents"):
        sequences(tiny_tokenizer(), DOCUMENTS, 3, 7)


def test_an_end_token_is_needed():
    tokenizer = tiny_tokenizer()
    tokenizer.eos_token = None
    with pytest.raises(CollectionError, match="no end token"):
        sequences(tokenizer, DOCUMENTS, 1, 4)


def test_the_digest_tells_other_tokens_and_another_shape():
    one = sequences(tiny_tokenizer(), DOCUMENTS, 2, 4)
    assert one.digest() == sequences(tiny_tokenizer(), DOCUMENTS, 2, 4).digest()
    assert one.digest() != one._replace(ids=one.ids.reshape(1, 8)).digest()
    assert one.digest() != one._replace(ids=one.ids + np.eye(2, 4, dtype=int)).digest()
