"""Rows from the hub and from files: what is read, and what is refused."""

import gzip
import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from stages.tasks.benchmarks import logiqa, mmlu
from stages.tasks.benchmarks.items import read_items
from stages.tasks.benchmarks.source import file_rows, hub_rows
from stages.tasks.item import TaskError
from tests.support.project import ROOT

ROWS = [{"question": f"q{n}", "subject": "law", "choices": list("wxyz"), "answer": n} for n in range(4)]
JSON_LINES = "".join(json.dumps(row) + "\n" for row in ROWS)
COMMIT, OTHER = "a" * 40, "b" * 40


def write_all(folder):
    """The same rows in every kind of file."""
    (folder / "rows.jsonl").write_text(JSON_LINES)
    (folder / "rows.jsonl.gz").write_bytes(gzip.compress(JSON_LINES.encode()))
    pd.DataFrame(ROWS).to_parquet(folder / "rows.parquet")
    cells = pd.DataFrame(ROWS).assign(choices=lambda rows: rows["choices"].map(json.dumps))
    cells.to_csv(folder / "rows.csv", index=False)


@pytest.mark.parametrize("kind", ["jsonl", "jsonl.gz", "parquet", "csv"])
def test_every_kind_of_file_gives_the_same_items(tmp_path, kind):
    write_all(tmp_path)
    expected = read_items(ROWS, mmlu, "test", "mmlu")
    assert read_items(file_rows(tmp_path / f"rows.{kind}"), mmlu, "test", "mmlu") == expected
    assert [item["answer"] for item in expected] == list("ABCD")


TEXT = "\nb\nContext.\nQuestion?\nA.one\nB.two\nC.three\nD.four\n"


def test_logiqas_own_text_has_eight_lines_to_an_item(tmp_path):
    path = tmp_path / "Test.txt"
    path.write_text(TEXT * 2)
    items = read_items(file_rows(path), logiqa, "test", "logiqa")
    assert [item["id"] for item in items] == ["logiqa-test-0", "logiqa-test-1"]
    assert items[1]["options"] == "A. one\nB. two\nC. three\nD. four" and items[1]["answer"] == "B"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("absent.jsonl", None, "is not a file in .*set it to null to use the hub"),
        ("rows.xlsx", b"x", "unknown kind of file: expected one of .jsonl, .jsonl.gz, .parquet, .csv, .txt"),
        ("rows.jsonl", JSON_LINES[:-9].encode(), "line 4 is not JSON.*cut off"),
        ("rows.jsonl", b"[1]\n", "line 1: the content: .*expected a JSON object"),
        ("rows.jsonl", b"\xff\xfe", "cannot be read .*utf-8"),
        ("rows.jsonl.gz", gzip.compress(JSON_LINES.encode(), mtime=0)[:-12], "cannot be read .*cut off"),
        ("rows.jsonl.gz", b"plain", "cannot be read .*[Nn]ot a gzipped file"),
        ("rows.parquet", b"PAR1 cut", "cannot be read .*cut off"),
        ("rows.csv", b'a,b\n1,"2', "cannot be read .*unexpected end of data"),
        ("rows.csv", b"a,b\n1\n", "row 1 has not as many cells as the header"),
        ("rows.txt", TEXT[:-8].encode(), "7 lines are not a multiple of 8"),
        ("rows.txt", (TEXT[1:] + "\n").encode(), "line 1: expected a blank line"),
    ],
)
def test_bad_files_are_named(tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(TaskError, match=message):
        file_rows(tmp_path / name)


def test_a_cut_parquet_file_is_named(tmp_path):
    write_all(tmp_path)
    path = tmp_path / "rows.parquet"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(TaskError, match="rows.parquet cannot be read .*cut off"):
        file_rows(path)


def test_a_recorded_sha256_is_checked(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text(JSON_LINES)
    digest = hashlib.sha256(JSON_LINES.encode()).hexdigest()
    assert file_rows(path, digest) == ROWS
    path.write_text(JSON_LINES + "\n")
    with pytest.raises(TaskError, match=f"expected {digest}"):
        file_rows(path, digest)


class StandIn(list):
    """Rows with what the hub's client says of where they lie."""

    def __init__(self, rows, commit):
        super().__init__(rows)
        self.cache_files = [{"filename": f"/cache/openai___gsm8k/main/0.0.0/{commit}/gsm8k-test.arrow"}]


def test_the_hub_is_asked_for_exactly_what_is_pinned(monkeypatch, caplog):
    asked = []

    def load_dataset(*arguments, **named):
        asked.append((arguments, named))
        return StandIn(ROWS, COMMIT)

    monkeypatch.setattr("datasets.load_dataset", load_dataset)
    caplog.set_level("INFO")
    assert hub_rows("openai/gsm8k", "main", COMMIT, "test") == ROWS
    assert asked == [(("openai/gsm8k", "main"), {"revision": COMMIT, "split": "test"})]
    assert hub_rows("openai/gsm8k", None, "refs/convert/parquet", "test") == ROWS
    assert f"at refs/convert/parquet, split 'test': 4 rows at commit {COMMIT}" in caplog.text


def test_another_commit_than_the_pinned_one_is_refused(monkeypatch):
    monkeypatch.setattr("datasets.load_dataset", lambda *_, **__: StandIn(ROWS, OTHER))
    with pytest.raises(TaskError, match=f"the cache holds {OTHER}.*connect once"):
        hub_rows("openai/gsm8k", "main", COMMIT, "test")


@pytest.mark.parametrize(
    ("raised", "message"),
    [
        (ConnectionError("Couldn't reach 'a/b' on the Hub (OfflineModeIsEnabled)"), "connect once, or give `file`"),
        (FileNotFoundError("Dataset 'a/b' is a gated dataset on the Hub."), "accept its terms.*HF_TOKEN"),
        (FileNotFoundError("Dataset 'a/b' doesn't exist on the Hub or cannot be accessed."), "correct `hub`"),
        (FileNotFoundError("Revision 'x' doesn't exist for dataset 'a/b' on the Hub."), "no such revision"),
        (RuntimeError("Dataset scripts are no longer supported, but found b.py"), "refs/convert/parquet"),
        (ValueError("BuilderConfig 'x' not found. Available: ['main']"), "correct `config`"),
        (ValueError('Unknown split "x". Should be one of'), "correct `split`"),
        (KeyError("anything"), "check hub, config, revision and split"),
    ],
)
def test_errors_of_the_hub_say_what_to_do(monkeypatch, raised, message):
    def load_dataset(*_, **__):
        raise raised

    monkeypatch.setattr("datasets.load_dataset", load_dataset)
    with pytest.raises(TaskError, match=f"cannot load a/b at main, split 'test': .*{message}"):
        hub_rows("a/b", None, "main", "test")


OFFLINE = """
import logging, sys
from stages.tasks.benchmarks.source import hub_rows
from stages.tasks.item import TaskError
for config, revision, split in [("main", "{commit}", "test"), ("main", "{other}", "test"), ("man", "{commit}", "test")]:
    try:
        print(len(hub_rows("openai/gsm8k", config, revision, split)))
    except TaskError as error:
        print(str(error).replace(chr(10), " "))
"""


def cache_as_from_the_hub(cache: Path, commit: str, folder: Path) -> None:
    """Lay rows where the hub's client keeps a data set that it has loaded at ``commit``."""
    import datasets

    (folder / "test.jsonl").write_text(JSON_LINES)
    made = datasets.load_dataset(
        "json", data_files={"test": str(folder / "test.jsonl")}, cache_dir=str(folder / "made"), split="test"
    )
    arrow = Path(made.cache_files[0]["filename"])
    info = json.loads((arrow.parent / "dataset_info.json").read_text()) | {
        "config_name": "main",
        "dataset_name": "gsm8k",
    }
    info["splits"]["test"]["dataset_name"] = "gsm8k"
    target = cache / "openai___gsm8k/main/0.0.0" / commit
    target.mkdir(parents=True)
    (target / "dataset_info.json").write_text(json.dumps(info))
    shutil.copy(arrow, target / "gsm8k-test.arrow")


def test_offline_the_real_client_serves_the_pinned_commit_alone(tmp_path):
    cache_as_from_the_hub(tmp_path / "cache", COMMIT, tmp_path)
    environment = {
        "PATH": "", "PYTHONPATH": str(ROOT), "HOME": str(tmp_path), "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_CACHE": str(tmp_path / "cache"),
    }  # fmt: skip
    code = OFFLINE.format(commit=COMMIT, other=OTHER)
    done = subprocess.run([sys.executable, "-c", code], env=environment, text=True, capture_output=True, check=True)
    served, other, config = done.stdout.splitlines()
    assert served == "4"
    assert f"the cache holds {COMMIT}" in other
    assert "connect once, or give `file`" in config
