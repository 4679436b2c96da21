"""Documents from the hub and from files: what is read, what is skipped, what is refused."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from stages.trace.text_registry import FileText, HubText
from stages.trace.text_source import TextError, read_documents
from tests.support.project import ROOT

COMMIT, OTHER = "a" * 40, "b" * 40
DOCUMENTS = ["The first document.", "Short.", "The second,\nin two lines.", "  \n", "The third, with \u2028 inside."]
LONG = [document for document in DOCUMENTS if len(document) > 10]


def hub(**changes):
    return HubText(
        **{
            "source": "hub", "hub": "some/web", "config": "all", "revision": COMMIT, "split": "train", "column": "text",
            "documents": 3, "least_characters": 10,
        } | changes
    )  # fmt: skip


def local(path, documents=3, least_characters=10):
    return FileText(source="file", file=str(path), documents=documents, least_characters=least_characters)


# ---------------------------------------------------------------- the hub


class StandIn:
    """A builder of the hub's client: it streams rows, and counts those that are asked for."""

    def __init__(self, rows, commit=COMMIT, fails=None):
        self.rows, self.hash, self.fails, self.read = rows, commit, fails, 0

    def as_streaming_dataset(self, split):
        self.split = split
        return self._stream()

    def _stream(self):
        for row in self.rows:
            self.read += 1
            yield row
        if self.fails:
            raise self.fails


@pytest.fixture
def serve(monkeypatch):
    """Put a stand-in, or an error, in the place of the hub; returns what the hub was asked for."""

    def _serve(builder):
        asked = []

        def load_dataset_builder(*arguments, **named):
            asked.append((arguments, named))
            if isinstance(builder, Exception):
                raise builder
            return builder

        monkeypatch.setattr("datasets.load_dataset_builder", load_dataset_builder)
        return asked

    return _serve


def test_the_hub_is_asked_for_exactly_what_is_pinned(serve, caplog):
    builder = StandIn([{"text": document, "id": 1} for document in DOCUMENTS])
    asked = serve(builder)
    caplog.set_level("INFO")
    assert read_documents(hub()) == LONG
    assert asked == [(("some/web", "all"), {"revision": COMMIT})]
    assert builder.split == "train"
    assert f"commit {COMMIT}" in caplog.text
    assert "3 documents, 2 skipped that have fewer than 10 characters" in caplog.text


def test_no_more_is_streamed_than_is_read(serve):
    builder = StandIn([{"text": f"Document number {number}."} for number in range(1000)])
    serve(builder)
    assert read_documents(hub(documents=7)) == [f"Document number {number}." for number in range(7)]
    assert builder.read == 7


def test_another_column_and_a_branch(serve):
    serve(StandIn([{"content": document} for document in DOCUMENTS], commit=OTHER))
    assert read_documents(hub(column="content", revision="main", documents=2)) == LONG[:2]


def test_another_commit_than_the_pinned_one_is_refused(serve):
    builder = StandIn([{"text": document} for document in DOCUMENTS], commit=OTHER)
    serve(builder)
    with pytest.raises(TextError, match=f"some/web at {COMMIT}.*the cache holds {OTHER}.*connect once"):
        read_documents(hub())
    assert builder.read == 0


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"text": "The only long document."}, {"text": "x"}], "has 1 documents of at least 10 characters \\(1 are shorter\\), expected 3: lower"),
        ([], "has 0 documents"),
        ([{"body": "a", "id": 1}], "row 0 has no 'text': correct `column`; there are: 'body', 'id'"),
        ([{"text": "A long enough one."}, {"text": ["no", "text"]}], "row 1: 'text' is \\['no', 'text'\\], expected text: correct `column`"),
        ([{"text": None}], "row 0: 'text' is None, expected text"),
    ],
)  # fmt: skip
def test_rows_that_do_not_fit_are_named(serve, rows, message):
    serve(StandIn(rows))
    with pytest.raises(TextError, match=f"some/web at {COMMIT}, split 'train'(?s:.*){message}"):
        read_documents(hub())


RAISED = [
    (ConnectionError("Couldn't reach 'some/web' on the Hub (OfflineModeIsEnabled)"), "connect once, or give `file`"),
    (FileNotFoundError("Dataset 'some/web' is a gated dataset on the Hub."), "accept its terms.*HF_TOKEN"),
    (FileNotFoundError("Dataset 'some/web' doesn't exist on the Hub or cannot be accessed."), "correct `hub`"),
    (ValueError("BuilderConfig 'al' not found. Available: ['all']"), "correct `config`"),
    (ValueError("Bad split: tain. Available splits: ['train']"), "correct `split`"),
    (KeyError("anything"), "check hub, config, revision and split"),
]


@pytest.mark.parametrize(("raised", "message"), RAISED)
def test_errors_of_the_hub_say_what_to_do(serve, raised, message):
    serve(raised)
    with pytest.raises(TextError, match=f"cannot load some/web at {COMMIT}, split 'train': .*{message}"):
        read_documents(hub())


@pytest.mark.parametrize(("raised", "message"), RAISED)
def test_errors_on_the_way_are_not_taken_for_the_end(serve, raised, message):
    serve(StandIn([{"text": LONG[0]}], fails=raised))
    with pytest.raises(TextError, match=f"cannot load some/web.*{message}"):
        read_documents(hub())


OFFLINE = """
from stages.trace.text_registry import HubText
from stages.trace.text_source import TextError, read_documents
for config, revision, split in [("all", "{commit}", "train"), ("all", "{other}", "train"), ("all", "{commit}", "tain")]:
    try:
        print(len(read_documents(HubText(
            source="hub", hub="some/web", config=config, revision=revision, split=split, column="text",
            documents=3, least_characters=10,
        ))))
    except TextError as error:
        print(str(error).replace(chr(10), " "))
"""


def cache_as_from_the_hub(cache: Path, commit: str, folder: Path) -> None:
    """Lay rows where the hub's client keeps a data set that it has loaded at ``commit``."""
    import datasets

    (folder / "train.jsonl").write_text("".join(json.dumps({"text": document}) + "\n" for document in DOCUMENTS))
    made = datasets.load_dataset(
        "json", data_files={"train": str(folder / "train.jsonl")}, cache_dir=str(folder / "made"), split="train"
    )
    arrow = Path(made.cache_files[0]["filename"])
    info = json.loads((arrow.parent / "dataset_info.json").read_text()) | {"config_name": "all", "dataset_name": "web"}
    info["splits"]["train"]["dataset_name"] = "web"
    target = cache / "some___web/all/0.0.0" / commit
    target.mkdir(parents=True)
    (target / "dataset_info.json").write_text(json.dumps(info))
    shutil.copy(arrow, target / "web-train.arrow")


def test_offline_the_real_client_streams_the_pinned_commit_alone(tmp_path):
    cache_as_from_the_hub(tmp_path / "cache", COMMIT, tmp_path)
    environment = {
        "PATH": "", "PYTHONPATH": str(ROOT), "HOME": str(tmp_path), "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_CACHE": str(tmp_path / "cache"),
    }  # fmt: skip
    code = OFFLINE.format(commit=COMMIT, other=OTHER)
    done = subprocess.run([sys.executable, "-c", code], env=environment, text=True, capture_output=True, check=True)
    served, other, split = done.stdout.splitlines()
    assert served == "3"
    assert f"the cache holds {COMMIT}" in other
    assert "correct `split`" in split


# ---------------------------------------------------------------- files


@pytest.mark.parametrize("ends", ["\n", "\r\n"])
def test_a_text_file_has_a_document_to_a_paragraph(tmp_path, ends):
    path = tmp_path / "mine.txt"
    path.write_bytes(("\ufeff\n\n" + "\n \n\n".join(DOCUMENTS) + "\n").replace("\n", ends).encode())
    assert read_documents(local(path)) == LONG


def test_a_json_file_has_a_document_to_a_line(tmp_path):
    path = tmp_path / "mine.jsonl"
    lines = [json.dumps({"text": document, "id": 1}, ensure_ascii=False) for document in DOCUMENTS]
    path.write_text("\n".join(lines) + "\n\n", encoding="utf-8")
    assert read_documents(local(path)) == LONG
    assert read_documents(local(path, documents=1)) == LONG[:1]
    assert read_documents(local(path, documents=4, least_characters=6)) == [d for d in DOCUMENTS if d.strip()]


def test_length_is_that_of_the_text_without_white_space_around_it(tmp_path):
    path = tmp_path / "mine.jsonl"
    path.write_text(json.dumps({"text": "   nine long   "}) + "\n" + json.dumps({"text": " ten longer \n"}) + "\n")
    assert read_documents(local(path, documents=1)) == ["ten longer"]


LINE = json.dumps({"text": LONG[0]}) + "\n"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("absent.txt", None, "absent.txt is not a file in .*correct `file`"),
        ("mine.csv", b"text\nx\n", "mine.csv: unknown kind of file: expected .txt or .jsonl"),
        ("mine.txt", b"", "mine.txt is empty: expected documents"),
        ("mine.jsonl", b" \n\n", "mine.jsonl is empty"),
        ("mine.txt", b"\xff\xfe\xfa", "mine.txt is not UTF-8 .byte 0xff.*save it as UTF-8"),
        ("mine.txt", LONG[0].encode(), "mine.txt has 1 documents of at least 10 characters \\(0 are shorter\\), expected 3"),
        ("mine.jsonl", (LINE + LINE[:-9]).encode(), "mine.jsonl, line 2 is not JSON .*expected an object with the key"),
        ("mine.jsonl", (LINE + "\n[1]\n").encode(), "mine.jsonl, line 3: the content: .*expected an object with the key"),
        ("mine.jsonl", (LINE + '{"content": "a", "id": 2}\n').encode(), "line 2 has no 'text': rename it to 'text'; there are: 'content', 'id'"),
        ("mine.jsonl", b"{}\n", "line 1 has no 'text': .*there are: none"),
        ("mine.jsonl", b'{"text": 3}\n', "line 1: 'text' is 3, expected text"),
    ],
)  # fmt: skip
def test_bad_files_are_named(tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(TextError, match=message):
        read_documents(local(tmp_path / name))


def test_an_error_does_not_repeat_a_long_value(tmp_path):
    path = tmp_path / "mine.jsonl"
    path.write_text(json.dumps({"text": list(range(10_000))}))
    with pytest.raises(TextError) as caught:
        read_documents(local(path))
    assert len(str(caught.value)) < 300
