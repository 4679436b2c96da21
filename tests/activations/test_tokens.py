"""Token ids, masks and batches."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.activations.tokens import CollectionError, Tokens, batches, token_offsets, tokenise
from tests.support.tiny_models import tiny_tokenizer

PROMPTS = ["w3 w4", "w5", "w6 w7 w8"]
TOKENS = tokenise(tiny_tokenizer(), PROMPTS, ["a", "b", "c"])
TEMPLATE = "{% for m in messages %}<eos> w9 {{ m.content }} {% endfor %}{% if add_generation_prompt %}w10{% endif %}"


@given(st.lists(st.integers(1, 50), min_size=1, max_size=60), st.integers(1, 200))
def test_batches_hold_every_row_once_within_the_budget(lengths, budget):
    lengths = np.array(lengths)
    result = batches(lengths, budget)
    assert sorted(np.concatenate(result)) == list(range(len(lengths)))
    assert all(len(rows) == 1 or len(rows) * lengths[rows].max() <= budget for rows in result)


def test_tokens():
    assert TOKENS.ids[1].tolist() == [1, 5]  # <bos> and the word
    assert TOKENS.content[2].tolist() == [False] + [True] * 3
    assert TOKENS.digest() != TOKENS.subset([1, 0, 2]).digest()
    assert TOKENS.subset([1]).prompt_ids == ("b",)
    assert token_offsets(TOKENS).tolist() == [0, 3, 5, 9]


def test_position_0_is_masked_also_without_a_special_token():
    tokenizer = tiny_tokenizer()
    tokenizer.backend_tokenizer.post_processor = None
    tokens = tokenise(tokenizer, ["w3 w4 w5"], ["a"])
    assert tokens.ids[0].tolist() == [3, 4, 5]
    assert tokens.content[0].tolist() == [False, True, True]


def test_two_prompts_with_the_same_tokens_split_differently_have_other_digests():
    flat = np.array([3, 4, 5, 6])
    one, other = (Tokens(("a", "b"), [flat[:n], flat[n:]], [np.ones(n, bool), np.ones(4 - n, bool)]) for n in (1, 2))
    assert one.digest() != other.digest()


def test_the_chat_format_is_the_template_of_the_tokenizer_and_nothing_before_it():
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = TEMPLATE
    tokens = tokenise(tokenizer, ["w3 w4"], ["a"], "chat")
    assert tokens.ids[0].tolist() == [2, 9, 3, 4, 10]  # no <bos>: the template writes its own special tokens
    assert tokens.content[0].tolist() == [False, True, True, True, True]


def test_a_tokenizer_without_a_chat_template():
    with pytest.raises(CollectionError, match="has no chat template: leave out prompt_format: chat"):
        tokenise(tiny_tokenizer(), ["w3"], ["a"], "chat")


def test_repeated_id_and_empty_prompt():
    with pytest.raises(CollectionError, match="prompt id a stands twice"):
        tokenise(tiny_tokenizer(), ["w3", "w4"], ["a", "a"])
    with pytest.raises(CollectionError, match="prompt b has no token besides"):
        tokenise(tiny_tokenizer(), ["w3", ""], ["a", "b"])
