"""The registry of benchmarks: the committed entries, and what is refused."""

import json

import pytest
import yaml

from stages.shared.params import ParamsError
from stages.tasks.benchmarks.registry import BENCHMARK_REGISTRY, load_benchmark
from stages.tasks.benchmarks.source import COMMIT
from tests.support.project import ROOT

RAW = yaml.safe_load((ROOT / BENCHMARK_REGISTRY).read_text())


@pytest.mark.parametrize("name", RAW)
def test_committed_entries_are_valid_and_pinned(name):
    entry = load_benchmark(name, ROOT / BENCHMARK_REGISTRY)
    assert COMMIT.fullmatch(entry.revision)
    assert entry.file is None and entry.sha256 is None
    assert entry.shots is None or entry.shots.count == 0


def write_entry(folder, **changes):
    """Write a registry with a changed entry of GSM8K; two underscores descend."""
    entry = json.loads(json.dumps(RAW["gsm8k"]))
    for key, value in changes.items():
        *parents, last = key.split("__")
        node = entry
        for parent in parents:
            node = node[parent]
        node[last] = value
    path = folder / "benchmarks.yaml"
    path.write_text(yaml.safe_dump({"gsm8k": entry}))
    return path


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shots__count": 1, "shots__split": "test"}, "shots.split is 'test', the evaluated split"),
        ({"shots__count": 1, "file": "a.jsonl", "shots__file": "./a.jsonl"}, "the evaluated file"),
        ({"shots__count": 1, "file": "a.jsonl", "hub": None, "revision": None}, "set shots.file"),
        ({"hub": None, "revision": None}, "expected hub and revision, or file"),
        ({"revision": None}, "expected hub and revision together"),
        ({"leave_out": [1319]}, "leave_out has 1319: expected positions from 0 to 1318"),
        ({"layout": "gsm8"}, "layout.*'gsm8k'.*found 'gsm8'"),
        ({"prompts": 0}, "prompts.*greater than 0"),
        ({"sha256": "abc"}, "sha256"),
        ({"itms": 3}, "unknown key gsm8k.itms: did you mean 'items'"),
        ({"shots__cuont": 3}, "unknown key gsm8k.shots.cuont: did you mean 'count'"),
    ],
)
def test_unsound_entries_are_named(tmp_path, changes, message):
    path = write_entry(tmp_path, **changes)
    with pytest.raises(ParamsError, match=message):
        load_benchmark("gsm8k", path)


def test_a_name_that_is_no_file_name_is_refused(tmp_path):
    path = tmp_path / "benchmarks.yaml"
    path.write_text(yaml.safe_dump({"../gsm8k": RAW["gsm8k"]}))
    with pytest.raises(ParamsError, match="a name has letters, digits"):
        load_benchmark("../gsm8k", path)
