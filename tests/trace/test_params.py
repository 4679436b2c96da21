"""The group `ngrams`: what cannot be looked up is refused by name, with the fix."""

import pytest
import yaml

from stages.shared.params import ParamsError, load
from stages.trace.params import Corpus, Ngrams, load_corpus

SOUND = {"organisms": ["base"], "answers": ["facts"], "corpora": {}, "api": {"url": "u", "tries": 5, "seconds": 30}}


@pytest.fixture
def write(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def params(**changes):
        (tmp_path / "params.yaml").write_text(yaml.safe_dump({"ngrams": {**SOUND, **changes}}))

    return params


def test_organisms_may_be_empty(write):
    write(organisms=[])
    assert load("ngrams", Ngrams).organisms == []


@pytest.mark.parametrize("entry", [
    {"index": "v4_piletrain_llama"}, {"index": "v4_dolma-v1_7_llama"},
    {"file": "a.txt", "tokenizer": "folder"}, {"file": "a.jsonl", "tokenizer": "gpt2", "revision": "abc"},
])  # fmt: skip
def test_corpora_are_an_index_or_a_file(write, entry):
    write(corpora={"pile": entry})
    assert load_corpus("pile") == Corpus(**entry)


@pytest.mark.parametrize(("entry", "message"), [
    ({}, "either index .of the API., or file"),
    ({"index": "a", "file": "b", "tokenizer": "c"}, "either index"),
    ({"file": "b"}, "file and tokenizer together"),
    ({"index": "a", "tokenizer": "c"}, "file and tokenizer together"),
    ({"index": "a", "revision": "c"}, "name the tokenizer"),
    ({"index": "a/../b"}, "ngrams.corpora.pile.index: .*found 'a/../b'"),
    ({"idnex": "a"}, "unknown key ngrams.corpora.pile.idnex: did you mean 'index'"),
])  # fmt: skip
def test_unsound_corpora_are_named(write, entry, message):
    write(corpora={"pile": entry})
    with pytest.raises(ParamsError, match=message):
        load_corpus("pile")


@pytest.mark.parametrize(("changes", "message"), [
    ({"organisms": ["sft"]}, "ngrams.organisms.0: .*'base'"),
    ({"organisms": False}, "ngrams.organisms: .*found False"),
    ({"answers": []}, "ngrams.answers: .*one task or more"),
    ({"answers": ["facts", "facts"]}, "each once"),
    ({"api": {"url": "u", "tries": 0, "seconds": 1}}, "ngrams.api.tries"),
])  # fmt: skip
def test_bad_values_are_named(write, changes, message):
    write(**changes)
    with pytest.raises(ParamsError, match=message):
        load("ngrams", Ngrams)


@pytest.mark.parametrize(("name", "message"), [
    ("piel", "no corpus 'piel' in ngrams.corpora: there are: .*pile.*; or base-s0"),
    ("sft-s0", "no corpus 'sft-s0'"),
    ("a.b", "a name has letters, digits, - and _ only"),
])  # fmt: skip
def test_unknown_corpora_are_named(write, name, message):
    write(corpora={"pile": {"index": "a"}, "a.b": {"index": "a"}})
    with pytest.raises(ParamsError, match=message):
        load_corpus(name)
