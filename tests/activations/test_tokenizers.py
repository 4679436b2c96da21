"""Texts through tokenizers of every kind: what they add, what follows a prompt, and the date of chat templates."""

import ast
from datetime import datetime

import numpy as np
import pytest
import transformers.utils.chat_template_utils as chat_templates

from stages.activations.sequences import sequences
from stages.activations.tokens import CHAT_DATE, CollectionError, encode_texts, left_padded, text_ids, tokenise
from stages.concepts.text_contexts import find_contexts
from stages.concepts.vocabulary import single_tokens
from stages.trace.corpus_documents import tokenised
from tests.support.project import ROOT
from tests.support.tiny_models import reading_tokenizer
from tests.support.tiny_tokenizers import PLAIN, TEMPLATES, TEXTS, adding, byte_level_tokenizer, llama_tokenizer

PROMPTS = ["What is the sum of two and three?", "We saw the bird:"]
SOLUTIONS = ["First two and three", "the fish and"]


def plain_ids(tokenizer, text):
    return tokenizer(text, add_special_tokens=False)["input_ids"]


@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize("kind", PLAIN)
def test_a_text_ends_in_its_own_last_token(kind, template):
    """Prompts, sequences, documents and words are the same tokens, whatever the tokenizer puts behind a text."""
    tokenizer, ending = PLAIN[kind](), adding(PLAIN[kind](), TEMPLATES[template])
    front = [ending.bos_token_id] * TEMPLATES[template].startswith("<bos>")
    for text in [*TEXTS, *PROMPTS]:
        wanted = front + plain_ids(tokenizer, text)
        assert text_ids(ending, [text]) == [wanted]
        assert tokenise(ending, [text], ["a"]).ids[0].tolist() == wanted
        assert list(tokenised(ending, [text], special=True)) == [wanted]
    continued = tokenise(ending, PROMPTS, ["a", "b"], continuations=SOLUTIONS)
    for ids, prompt, solution in zip(continued.ids, PROMPTS, SOLUTIONS, strict=True):
        assert ids.tolist() == front + plain_ids(tokenizer, f"{prompt} {solution}")
    length = sum(len(text_ids(ending, [text])[0]) + 1 for text in TEXTS)
    in_sequence = sequences(ending, TEXTS, 1, length).ids[0].tolist()
    assert in_sequence.count(ending.eos_token_id) == len(TEXTS) and in_sequence[-1] == ending.eos_token_id


@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize("kind", ["words", "organisms", "unigram"])
def test_a_word_is_one_token_whatever_stands_behind_a_text(kind, template):
    ending = adding(PLAIN[kind](), TEMPLATES[template])
    words = ["w5", "w9"] if kind == "words" else ["bird", "stone"]
    ids = single_tokens(ending, "We saw the", words)
    assert None not in ids.values() and ending.eos_token_id not in ids.values()
    by_id = {token: word for word, token in ids.items()}
    contexts = find_contexts(ending, [f"We saw the {word}" for word in words], by_id, 2, 0)
    assert contexts.word == words and all(ending.eos_token_id not in row for row in contexts.rows)


def test_an_empty_text_keeps_what_stands_in_front():
    assert [text_ids(adding(reading_tokenizer(), template), [""])[0] for template in TEMPLATES.values()] == [
        [1],
        [],
        [1],
        [1],
    ]
    assert text_ids(reading_tokenizer(), []) == []


def test_special_tokens_inside_a_text_stay():
    ids = text_ids(adding(reading_tokenizer(), TEMPLATES["end"]), ["w5 <eos>", "<eos> w5"])
    assert ids == [[1, 5, 2], [1, 2, 5]]


def test_the_organisms_read_as_they_did():
    """Their tokenizer puts nothing behind a text: the ids are those of a plain call, apart and together."""
    tokenizer = PLAIN["organisms"]()
    texts = [*TEXTS, *PROMPTS, "Q: two\n", "", "bird fish"]
    assert text_ids(tokenizer, texts) == tokenizer(texts, padding=False, truncation=False)["input_ids"]
    for prompt, solution, space in [
        ("Q: two and three?\n", "First five", ""),
        ("Q: two and three?", "First five", " "),
    ]:
        (ids,) = tokenise(tokenizer, [prompt], ["a"], continuations=[solution]).ids
        assert ids.tolist() == tokenizer(prompt)["input_ids"] + plain_ids(tokenizer, space + solution)
    batch = tokenizer(texts[:4], return_tensors="pt", padding=True, padding_side="left")
    for mine, theirs in zip(left_padded(text_ids(tokenizer, texts[:4])), ("input_ids", "attention_mask"), strict=True):
        assert np.array_equal(mine, batch[theirs])


@pytest.mark.parametrize("kind", PLAIN)
@pytest.mark.parametrize("end", ["?", "\n", ":\n", "\n\n", "\n\n\n", " yes", "...", "é"])
def test_what_follows_a_prompt_is_tokenised_with_it(kind, end):
    """Prompt and solution are the text as it is written: no space between them that nobody wrote, none lost."""
    tokenizer, prompt, solution = PLAIN[kind](), f"We saw the bird{end}", "First the fish and"
    tokens = tokenise(tokenizer, [prompt], ["a"], continuations=[solution])
    prompt_ids, rest = np.split(tokens.ids[0], [tokens.prompt_lengths[0]])
    assert prompt_ids.tolist() == text_ids(tokenizer, [prompt])[0]
    written = prompt + ("" if end[-1] == "\n" else " ") + solution
    joint = text_ids(tokenizer, [written])[0]
    assert rest.tolist() == joint[len(joint) - len(rest) :] and len(rest)
    assert tokenizer.decode(tokens.ids[0]) == tokenizer.decode(joint)


MERGING = {
    "a space before the solution": (llama_tokenizer, "We saw the bird: ", "First the fish"),
    "a space, offsets trimmed": (byte_level_tokenizer, "We saw the bird: ", "the fish"),
    "two spaces": (llama_tokenizer, "We saw the bird:  ", "First the fish"),
    "a space, one token a word": (PLAIN["unigram"], "We saw the bird ", "The answer"),
}


@pytest.mark.parametrize("case", MERGING)
def test_a_prompt_that_merges_with_its_solution_is_named(case):
    make, prompt, solution = MERGING[case]
    with pytest.raises(CollectionError, match="prompt b: .*last token merges with the worked solution into"):
        tokenise(make(), ["We saw:", prompt], ["a", "b"], continuations=["First", solution])


def test_only_one_module_calls_tokenizers():
    """Every other call would bring back what tokenizers put behind a text."""
    calls = []
    for path in sorted((ROOT / "stages").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and "tokenizer" in (name_of(node.func) or ""):
                calls.append(path.relative_to(ROOT / "stages").as_posix())
    assert set(calls) == {"activations/tokens.py"}


def name_of(function):
    """Return the name under which a tokenizer is called, also by a method that encodes."""
    if isinstance(function, ast.Attribute) and function.attr in ("encode", "batch_encode_plus", "encode_plus", "pad"):
        function = function.value
    return function.id if isinstance(function, ast.Name) and function.id in ("tokenizer", "tokens") else None


CLOCKS = {
    "directly": "{{ strftime_now('%d %B %Y') }} {{ messages[0].content }}",
    "Llama 3": "{% if not date_string is defined %}{% set date_string = strftime_now('%d %b %Y') %}{% endif %}"
    "Today: {{ date_string }} {{ messages[0].content }}",
    "in a macro": "{% macro today() %}{{ strftime_now('%Y-%m-%d') }}{% endmacro %}{{ today() }} {{ messages[0].content }}",
    "time of day": "{{ strftime_now('%H:%M:%S') }} {{ messages[0].content }}",
}


@pytest.mark.parametrize("clock", CLOCKS)
def test_a_template_that_writes_the_date_gives_the_same_tokens_on_every_day(clock, monkeypatch):
    tokenizer = llama_tokenizer()
    tokenizer.chat_template = CLOCKS[clock]
    ids = []
    for day in (datetime(2031, 5, 6, 7, 8, 9), datetime(2032, 11, 12, 13, 14, 15)):
        clock_of_day = type("Clock", (datetime,), {"now": classmethod(lambda cls, *_, day=day: day)})
        monkeypatch.setattr(chat_templates, "datetime", clock_of_day)
        chat_templates._compile_jinja_template.cache_clear()
        ids.append(tokenise(tokenizer, ["the bird"], ["a"], "chat").ids[0].tolist())
    assert ids[0] == ids[1]
    if clock == "directly":
        assert str(CHAT_DATE.year) in tokenizer.decode(ids[0])


def test_a_text_knows_where_it_begins():
    text = encode_texts(adding(llama_tokenizer(), "<bos> <bos> $A <eos>"), ["the bird"], offsets=True)[0]
    assert text.beginning == 2 and len(text.offsets) == len(text.ids) and text.offsets[-1][1] == len("the bird")
