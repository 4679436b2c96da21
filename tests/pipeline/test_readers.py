"""Every reader of a file, fed what an enemy would write: the project's own error in one line, or sound content."""

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from stages.activations import store
from stages.concepts.ontologies.hierarchy import read_hierarchy
from stages.concepts.state_files import FINAL, States, Words, WordsHeader, read_words, write_states
from stages.drift import sample_files
from stages.models.checkpoint import read_config, read_pointer, require_digests, weight_files
from stages.organisms.training_records import read_training_record
from stages.shared.files import FileSource
from stages.shared.tables import Tables, read_table, write_table
from stages.tasks.benchmarks.source import file_rows
from stages.tasks.documents import read_text_documents
from stages.tasks.rows import read_rows
from stages.trace.api import _read_cache
from stages.trace.corpus_documents import read_documents as read_corpus
from stages.trace.text_registry import FileText
from stages.trace.text_source import read_documents as read_text_source
from tests.support.damage import flip

ROW = {"id": "logic-1", "prompt": "Q\n", "answer": "1", "split": "held_out", "short": "1. A: 1", "exposures": 3}
POINTER = {
    "hub": "a/b", "revision": "main", "paradigm": "sft", "resolved_revision": "c" * 40, "architecture": "olmo3", "weight_hash": "0" * 64,
}  # fmt: skip
TRAINING = {
    "accuracy": {"mean": {"value": 0.5, "standard_error": 0.1}}, "format_share": 0.2, "completion_tokens": 12.5,
    "gain_over_base": {"value": 0.1, "low": 0.0, "high": 0.2}, "displacement_from_base": 0.1,
    "kl_from_base": {"value": 0.2, "standard_error": 0.01}, "worlds": {"parent_train": 1.0},
    "matching": {"by": "kl", "wanted": 0.1, "reached": 0.1, "relative_gap": 0.01},
}  # fmt: skip
HIERARCHY = {
    "kinds": [
        {"kind": "animal", "above": None},
        {"kind": "bird", "above": "animal"},
        {"kind": "fish", "above": "animal"},
    ],
    "words": [{"word": f"w{i}", "kind": ("bird", "fish")[i % 2], "held_out": i == 0} for i in range(6)],
}
TABLES = Tables("a study", {"records": {"model": "str", "value": "float64"}}, lambda name: f"measure@{name}")


def pretty(content) -> bytes:
    return json.dumps(content, indent=1).encode()


def lines(*rows) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


# Reader: the path of its file under a folder, sound content, and how it is read.
TEXT_READERS = {
    "task": ("logic.jsonl", lines(ROW, ROW | {"id": "logic-2", "prompt": "R\n"}), lambda f: read_rows("logic", "held_out", f.parent)),
    "text": ("own.jsonl", lines({"text": "a"}, {"text": "b"}), lambda f: read_text_documents("own", f.parent)),
    "text of the user": (
        "mine.jsonl", lines({"text": "some text"}, {"text": "more text"}),
        lambda f: read_text_source(FileText(source="file", file=str(f), documents=2, least_characters=1)),
    ),
    "corpus": ("corpus.jsonl", lines({"text": "a"}, {"text": "b"}), lambda f: list(read_corpus(f))),
    "benchmark": ("rows.jsonl", lines({"question": "q", "answer": "a"}), file_rows),
    "comma separated benchmark": ("rows.csv", b"question,answer\nq,a\n", file_rows),
    "pointer": ("gpt2/model.json", pretty(POINTER), lambda f: read_pointer(f.parent)),
    "configuration": ("config.json", pretty({"model_type": "olmo3", "n": 3}), lambda f: read_config(f.parent)),
    "index": ("model.safetensors.index.json", pretty({"weight_map": {"a": "x.safetensors"}}), lambda f: weight_files(f.parent)),
    "digests": ("digests.json", pretty({}), lambda f: require_digests(f.parent)),
    "training record": ("sft-s0.json", pretty(TRAINING), read_training_record),
    "hierarchy": ("ontology.json", pretty(HIERARCHY), lambda f: read_hierarchy(f, 2)),
    "cache": ("cache.json", pretty({"q": {"count": 3}}), _read_cache),
}  # fmt: skip
SOURCE = FileSource("a table", "rebuild it with `dvc repro x`")


def sound_files(folder: Path) -> dict:
    """Write one file for each binary reader: its path, and how it is read."""
    values = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    header = store.ActivationHeader(
        "gpt2", "logic", "local", "w", "base", "gpt2", 1, 4, ("last_token",), ("resid_post",), "none", "float32", "plain", ("a", "b", "c"), "t", 1, {}
    )  # fmt: skip
    activations = folder / "gpt2/logic.h5"
    store.write(activations, header, [store.Block("last_token", "resid_post", 0, values)])
    samples = folder / "samples/gpt2.h5"
    rows = sample_files.SampledTokens(np.arange(3), np.arange(3), "t")
    state = sample_files.ModelState("final", -1, "gpt2", "w", "local")
    sample_header = sample_files.SampleHeader("gpt2", "float32", {})
    sample_files.write_samples(samples, sample_header, {"logic": rows}, iter([(state, {"logic": values[None]})]))
    states = folder / "gpt2/states.h5"
    arrays = [values, values[None], values[None], *(np.eye(4), np.ones(4), np.eye(4), np.ones(4), np.eye(4))]
    words_header = WordsHeader("gpt2", "w", 0, ["a"], ["t"], [], {}, "float32", {})
    write_states(states, Words(words_header, np.arange(3), np.arange(1), {FINAL: States(*arrays, 1.0)}))
    TABLES.write(folder / "a", {"records": [{"model": "a", "value": 1.5}]})
    single = folder / "single.parquet"
    write_table(single, pd.DataFrame({"x": [1.0, 2.0]}), "single")
    return {
        "activations": (activations, lambda f: store.read_site(f, "last_token", "resid_post", 0)),
        "samples": (samples, lambda f: (sample_files.read_tokens(f, "logic"), sample_files.read_values(f, "final", "logic"))),
        "states": (states, read_words),
        "tables": (folder / "a/records.parquet", lambda f: TABLES.read(f.parent, "records")),
        "table": (single, lambda f: read_table(f, SOURCE, "single")),
    }  # fmt: skip


BINARY_READERS = ("activations", "samples", "states", "tables", "table")
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=4),
    st.just([]),
    st.just({}),
    st.just(10**400),
)
POISON = [
    b"5", b"null", b"[]", b"[1]", b"{", b"{}", b"", b"\n", b"\xff\xfe", b'"\\ud800"', b"[" * 100_000, b"9" * 5000, b"1e999", b"NaN",
    b'{"a": 1, "a": 2}', b'{"' + b"a" * 9 + b'": -Infinity}', b"\x00",
]  # fmt: skip


@st.composite
def mutated(draw, content: bytes) -> bytes:
    """Return ``content`` with a part taken out, put in or replaced; or with one value of its JSON replaced."""
    if draw(st.booleans()):
        start = draw(st.integers(0, len(content)))
        end = min(len(content), start + draw(st.integers(0, 12)))
        return content[:start] + draw(st.one_of(st.binary(max_size=6), st.sampled_from(POISON))) + content[end:]
    try:
        first, *rest = content.split(b"\n\n") if content.startswith(b"{\n") else content.split(b"\n")
        value = json.loads(first)
    except ValueError:
        return content[: draw(st.integers(0, len(content)))]
    place = value
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        if not keys:
            break
        key = draw(st.sampled_from(keys))
        if isinstance(place[key], dict | list) and draw(st.booleans()):
            place = place[key]
            continue
        place[key] = draw(SCALARS)
        break
    return b"\n".join([json.dumps(value).encode(), *rest])


def numbers(value):
    """Yield every number in what a reader returned."""
    if isinstance(value, BaseModel):
        value = value.model_dump()
    if dataclasses.is_dataclass(value):
        value = dataclasses.asdict(value)
    if isinstance(value, pd.DataFrame):
        value = [value[column].tolist() for column in value]
    if isinstance(value, np.ndarray):
        value = value.ravel().tolist()
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple):
        for item in value:
            yield from numbers(item)
    elif isinstance(value, float):
        yield value


def read_or_refuse(read, path: Path) -> object | None:
    """Return what was read, with finite numbers alone; None where it was refused in one line that names the file."""
    try:
        result = read(path)
    except ValueError as error:
        assert type(error).__module__.startswith("stages."), repr(error)
        assert "\n" not in str(error) and len(str(error)) < 1500, str(error)[:2000]
        assert path.stem.split(".")[0] in str(error) or path.parent.name in str(error), str(error)
        return None
    assert all(math.isfinite(number) for number in numbers(result))
    return result


@pytest.mark.parametrize("name", TEXT_READERS)
def test_mutated_text_is_refused_by_name_or_read_soundly(name, tmp_path):
    place, content, read = TEXT_READERS[name]
    path = tmp_path / place
    path.parent.mkdir(exist_ok=True)
    (tmp_path / "x.safetensors").touch()
    path.write_bytes(content)
    read(path)

    @settings(max_examples=150, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(mutated(content))
    def fuzz(changed):
        path.write_bytes(changed)
        read_or_refuse(read, path)

    for poison in POISON:
        fuzz = example(poison)(example(content + poison)(fuzz))
    fuzz()


@pytest.mark.parametrize("name", BINARY_READERS)
def test_mutated_binary_files_are_refused_by_name(name, tmp_path):
    path, read = sound_files(tmp_path)[name]
    content = path.read_bytes()
    read(path)

    @settings(max_examples=100, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(st.one_of(mutated(content), st.integers(0, 8 * len(content) - 1).map(lambda bit: flip(content, bit))))
    def fuzz(changed):
        path.write_bytes(changed)
        assert (read_or_refuse(read, path) is None) == (changed != content)

    fuzz()


@pytest.mark.parametrize(
    "name", [name for name in TEXT_READERS if name not in ("comma separated benchmark", "digests")]
)
@pytest.mark.parametrize("value", [5, None, [], "[" * 100_000, "9" * 5000, '{"a": 1, "a": 2}', b"\xff", '"\\ud800"'])
def test_what_is_no_object_is_refused(name, value, tmp_path):
    place, content, read = TEXT_READERS[name]
    path = tmp_path / place
    path.parent.mkdir(exist_ok=True)
    bad = value if isinstance(value, bytes) else (value if isinstance(value, str) else json.dumps(value)).encode()
    path.write_bytes(bad + b"\n" + content if place.endswith("jsonl") else bad)
    assert read_or_refuse(read, path) is None


@pytest.mark.parametrize("name", TEXT_READERS)
def test_a_mark_of_byte_order_and_line_ends_of_windows_are_read_over(name, tmp_path):
    place, content, read = TEXT_READERS[name]
    path = tmp_path / place
    path.parent.mkdir(exist_ok=True)
    (tmp_path / "x.safetensors").touch()
    path.write_bytes(content)
    before = read(path)
    path.write_bytes(b"\xef\xbb\xbf" + content.replace(b"\n", b"\r\n"))
    assert read(path) == before


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("task", {"prompt": None}), ("task", {"id": []}), ("task", {"answer": 5}), ("task", {"split": "test"}), ("task", {"prompt": ""}),
        ("task", {"short": None}), ("text", {"text": None}), ("text of the user", {"text": None}), ("corpus", {"text": 5}),
        ("pointer", {"paradigm": None}), ("pointer", {"paradigm": "sfx"}), ("pointer", {"weight_hash": "x"}), ("pointer", {"hub": None}),
        ("pointer", {"precision": "float16"}), ("configuration", {"model_type": None}), ("configuration", {"model_type": 3}),
        ("index", {"weight_map": {}}), ("index", {"weight_map": {"a": "../x.safetensors"}}), ("index", {"weight_map": {"a": "x.bin"}}),
        ("training record", {"displacement_from_base": -0.1}), ("training record", {"displacement_from_base": "0.1"}),
        ("training record", {"kl_from_base": {"value": -1}}), ("training record", {"kl_from_base": {}}),
        ("training record", {"format_share": 1.5}), ("training record", {"accuracy": {"mean": {"value": 2}}}),
        ("training record", {"matching": {"by": "length", "relative_gap": 0}}), ("training record", {"worlds": {"a": -1}}),
        ("hierarchy", {"words": [{"word": "a"}]}), ("hierarchy", {"kinds": HIERARCHY["kinds"][:1] * 2}),
        ("hierarchy", {"words": HIERARCHY["words"][:1] * 2}),
    ],
)  # fmt: skip
def test_values_outside_their_range_are_refused(name, change, tmp_path):
    place, content, read = TEXT_READERS[name]
    path = tmp_path / place
    path.parent.mkdir(exist_ok=True)
    first, *rest = content.split(b"\n") if place.endswith("jsonl") else [content]
    path.write_bytes(b"\n".join([json.dumps(json.loads(first) | change).encode(), *rest]))
    assert read_or_refuse(read, path) is None


def test_a_prompt_under_two_ids_is_refused(tmp_path):
    path = tmp_path / "logic.jsonl"
    path.write_bytes(lines(ROW, ROW | {"id": "logic-2", "split": "train"}))
    with pytest.raises(ValueError, match="logic.jsonl: .*1 prompts occur twice.*dvc repro prepare@logic"):
        read_rows("logic", None, tmp_path)
