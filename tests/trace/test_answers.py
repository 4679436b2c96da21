"""Where an answer begins: by character offsets, whatever the tokenizer merges across the boundary."""

import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from stages.organisms.tokenizer import build_tokenizer
from stages.trace.answers import CorpusError, encode, joined


def row(prompt, answer):
    return {"id": "row", "prompt": prompt, "answer": answer}


def answer_text(tokenizer, prompt, answer):
    (found,) = encode(tokenizer, [row(prompt, answer)])
    return tokenizer.decode(found.ids[found.start :]), tokenizer.decode(found.ids[found.beginning : found.start])


@pytest.fixture(scope="module")
def byte_level():
    """Byte-level BPE trained so that it merges across words of code: "=x" is one token."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=True)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=300, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(["y=\nx", "z=\nx", "=\nx", " the Paris"] * 50, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<eos>")


@pytest.fixture(scope="module")
def organism():
    texts = ["Q: 1 + 2 = ?\nA: 3", "abc cab bca"] * 20
    return build_tokenizer(texts, ["keeps", "a", "zorin", "femos"], 300)


def test_the_answer_follows_after_one_space_at_most():
    assert joined("keeps a", "dog") == "keeps a dog" and joined("= ?\n", "3") == "= ?\n3"


@pytest.mark.parametrize("answer", ["Paris", "Paris the", "é€"])
def test_an_answer_in_the_prompt_is_not_taken_for_the_answer(byte_level, answer):
    text, before = answer_text(byte_level, f"the {answer} or {answer}?", answer)
    assert text.strip() == answer and before == f"the {answer} or {answer}?"


def test_a_token_across_the_boundary_is_the_answers(byte_level):
    prompt, answer = "y=\n", "x"
    (found,) = encode(byte_level, [row(prompt, answer)])
    alone = byte_level(prompt)["input_ids"]
    assert found.ids[: len(alone)] != alone  # the prompt alone is tokenised otherwise
    assert "x" in byte_level.decode(found.ids[found.start :])
    assert "x" not in byte_level.decode(found.ids[: found.start])
    assert found.start < len(alone)


def test_an_organism_answer_is_its_word(organism):
    (found,) = encode(organism, [row(" zorin keeps a", "zorin")])
    assert organism.convert_ids_to_tokens(found.ids) == ["<bos>", "Ġzorin", "Ġkeeps", "Ġa", "Ġzorin"]
    assert (found.start, found.beginning) == (4, 1)


def test_an_organism_answer_after_a_line_break_has_no_space(organism):
    assert answer_text(organism, "Q: 1 + 2 = ?\n", "3") == ("3", "Q: 1 + 2 = ?\n")


def test_answers_keep_their_order_and_nothing_is_padded(organism):
    rows = [{**row(" zorin keeps a", "femos"), "id": "a"}, {**row(" femos keeps a abc", "3"), "id": "b"}]
    found = encode(organism, rows)
    assert [answer.id for answer in found] == ["a", "b"]
    assert organism.pad_token_id not in found[0].ids + found[1].ids


def test_what_a_tokenizer_puts_behind_is_no_part_of_the_answer(organism):
    backend = Tokenizer.from_str(organism.backend_tokenizer.to_str())
    backend.post_processor = processors.TemplateProcessing(
        single="<bos> $A <eos>", special_tokens=[("<bos>", 1), ("<eos>", 2)]
    )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<bos>", eos_token="<eos>")
    assert encode(tokenizer, [row(" zorin keeps a", "femos")]) == encode(organism, [row(" zorin keeps a", "femos")])


@pytest.mark.parametrize("answer", ["", " ", "\n"])
def test_an_empty_answer_is_named(organism, answer):
    with pytest.raises(CorpusError, match="row has the answer"):
        encode(organism, [row("p", answer)])


def test_an_answer_without_a_token_is_named():
    backend = Tokenizer(models.WordLevel({"known": 0, "<unk>": 1}, unk_token="<unk>"))
    backend.normalizer = normalizers.Replace("lost", "")
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend)
    assert encode(tokenizer, [row("known", "known")])[0].start == 1
    with pytest.raises(CorpusError, match="the answer 'lost' has no token"):
        encode(tokenizer, [row("known", "lost")])


def test_a_tokenizer_without_offsets_is_named():
    class Slow:
        is_fast, name_or_path = False, "somewhere"

    with pytest.raises(CorpusError, match="'somewhere' .Slow. gives no character offsets: use a fast one"):
        encode(Slow(), [row("p", "a")])
