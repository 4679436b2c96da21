"""Documents of a local corpus: one a line, nothing else, errors by line."""

import pytest

from stages.organisms.tokenizer import build_tokenizer
from stages.trace.answers import CorpusError
from stages.trace.corpus_documents import load_tokenizer, read_documents, tokenised


def test_a_line_is_a_document_and_a_blank_line_is_none(tmp_path):
    (tmp_path / "a.txt").write_text(" one two\n\n  \nthree\u2028four\nlast")
    assert list(read_documents(tmp_path / "a.txt")) == [" one two", "three\u2028four", "last"]


def test_json_lines_have_text(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": " one\\ntwo", "source": 3}\n\n{"text": ""}\n')
    assert list(read_documents(tmp_path / "a.jsonl")) == [" one\ntwo", ""]


@pytest.mark.parametrize(("name", "content", "message"), [
    ("a.jsonl", '{"text": "a"}\n{"txt": "b"}\n', "line 2 has no text; expected an object with the key `text`"),
    ("a.jsonl", '{"text": "a', "line 1 is not JSON .*expected an object"),
    ("a.jsonl", "[1]\n", "line 1: the content: .*found .1.*expected an object"),
    ("a.jsonl", '{"text": 3}\n', "line 1: text: Input should be a valid string .found 3"),
    ("a.pdf", "", "unknown kind of file: expected .txt or .jsonl"),
    ("absent.txt", None, "is not a file in"),
])  # fmt: skip
def test_bad_files_are_named(tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(CorpusError, match=message):
        list(read_documents(tmp_path / name))


def test_documents_are_tokenised_one_by_one_in_order(monkeypatch):
    monkeypatch.setattr("stages.trace.corpus_documents.BATCH", 2)
    tokenizer = build_tokenizer(["a b c"] * 3, [], 20)
    texts = ["a", "b c", "c", "", "a b c"]
    assert list(tokenised(tokenizer, texts)) == [
        tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts
    ]
    assert list(tokenised(tokenizer, texts, special=True)) == tokenizer(texts)["input_ids"]


def test_a_tokenizer_comes_from_its_folder(tmp_path):
    tokenizer = build_tokenizer(["a b c"] * 3, ["word"], 20)
    tokenizer.save_pretrained(tmp_path)
    assert load_tokenizer(str(tmp_path))("a word")["input_ids"] == tokenizer("a word")["input_ids"]


def test_an_absent_tokenizer_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(CorpusError, match="no tokenizer '.*absent' at abc: expected a folder"):
        load_tokenizer(str(tmp_path / "absent"), "abc")
