"""A path in a registry or in params.yaml may begin with ~, and stays so in what is written."""

import json
import shutil
from types import SimpleNamespace

import pytest

from stages.models import runs
from stages.models.checkpoint import local_files
from stages.organisms.tokenizer import build_tokenizer
from stages.paradigms.benchmark_items import upstream_rows
from stages.trace.corpus_documents import load_tokenizer
from stages.trace.text_registry import FileText
from stages.trace.text_source import read_documents


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home/m").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "home"


def test_models_and_their_checkpoints_lie_in_the_home_folder(home, monkeypatch):
    assert local_files("mine", "~/m") == (home / "m", None)
    (home / "m.gguf").touch()
    assert local_files("mine", "~/m.gguf") == (home, "m.gguf")
    checkpoint = SimpleNamespace(step=1, tokens=None, revision="first", hub=None)
    entry = SimpleNamespace(path="~/m", hub=None, checkpoints=[checkpoint], tokenizer=None)
    monkeypatch.setattr(runs, "load_run", lambda run: entry)
    assert [saved.folder for saved in runs.saved_checkpoints("mine")] == [home / "m/first"]


def test_texts_benchmarks_and_tokenizers_lie_in_the_home_folder(home):
    (home / "text.txt").write_text("a b c\n\nd e f\n")
    entry = FileText(source="file", file="~/text.txt", documents=2, least_characters=1)
    assert len(list(read_documents(entry))) == 2
    (home / "rows.jsonl").write_text(json.dumps({"question": "q"}) + "\n")
    assert upstream_rows(None, "test", "~/rows.jsonl", None) == [{"question": "q"}]
    tokenizer = build_tokenizer(["a b c"] * 3, [], 20)
    tokenizer.save_pretrained(home / "m")
    assert load_tokenizer("~/m").get_vocab() == tokenizer.get_vocab()
    shutil.rmtree(home / "m")
