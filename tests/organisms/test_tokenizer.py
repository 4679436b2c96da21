"""The tokenizer: whole words are one token, digits stand alone, text survives the round trip."""

import pytest
from transformers import AutoTokenizer

from stages.organisms.corpus import world_words


def test_every_world_word_is_one_token(tokenizer, worlds):
    for word in world_words(*worlds):
        if word.isalpha():
            assert len(tokenizer.tokenize(f" the {word}")) == 2, word


@pytest.mark.parametrize(
    "text",
    ["Q: 12 - 3 = ?\n", "<think>We begin with 4. Next 4+5=9.</think>A: 9", " the bird .", "s=''.join(sorted(s))"],
)
def test_text_survives_and_digits_stand_alone(tokenizer, text):
    ids = tokenizer(text)["input_ids"]
    assert ids[0] == tokenizer.bos_token_id
    assert tokenizer.decode(ids, skip_special_tokens=True) == text
    assert not any(len(token.strip("Ġ")) > 1 and any(c.isdigit() for c in token) for token in tokenizer.tokenize(text))


def test_a_character_that_the_corpus_lacks_is_marked_not_dropped(tokenizer):
    assert tokenizer("Q: 1 € 2")["input_ids"].count(tokenizer.unk_token_id) >= 1


def test_corpus_needs_no_unknown_token(tokenizer, texts):
    for text in texts[:300]:
        kept = text.replace("<eos>", "")
        assert tokenizer.unk_token_id not in tokenizer(text)["input_ids"]
        assert tokenizer.decode(tokenizer(text)["input_ids"], skip_special_tokens=True) == kept


def test_saved_tokenizer_is_the_same(tokenizer, texts, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    assert again(texts[:50])["input_ids"] == tokenizer(texts[:50])["input_ids"]
    assert (again.pad_token_id, again.bos_token_id, again.eos_token_id) == (0, 1, 2)
