"""What DVC cannot see of local runs and corpora is pinned by content, by the trace and by the drift study alike."""

import json

import pytest
import yaml

from stages.drift import pin as drift_pin
from stages.trace import pin
from stages.trace.answers import CorpusError
from tests.support.tiny_models import tiny_model, tiny_tokenizer


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A local run of two checkpoints, one of the hub, a local corpus and one of the API."""
    monkeypatch.chdir(tmp_path)
    for step in (0, 1):
        tiny_model("llama").save_pretrained(tmp_path / f"mine/step{step}")
    tiny_tokenizer().save_pretrained(tmp_path / "mine/step1")
    (tmp_path / "corpus.txt").write_text("w3 w4\n")
    checkpoints = [{"step": step, "revision": f"step{step}"} for step in (0, 1)]
    runs = {
        "mine": {"path": str(tmp_path / "mine"), "paradigm": "base", "checkpoints": checkpoints},
        "theirs": {"hub": "someone/model", "paradigm": "base", "checkpoints": checkpoints},
    }
    (tmp_path / "data/registry").mkdir(parents=True)
    (tmp_path / "data/registry/runs.yaml").write_text(yaml.safe_dump(runs))
    corpora = {"local": {"file": "corpus.txt", "tokenizer": "mine/step1"}, "far": {"index": "v4_piletrain_llama"}}
    api = {"url": "http://localhost", "tries": 1, "seconds": 1}
    params = {"ngrams": {"organisms": [], "answers": ["facts"], "corpora": corpora, "api": api}}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    return tmp_path


def pins(project) -> dict[str, dict]:
    pin.main("run", "mine")
    pin.main("corpus", "local")
    drift_pin.main("mine")
    return {
        str(path.relative_to(project)): json.loads(path.read_text()) for path in project.glob("data/*/pins/**/*.json")
    }


def replaced(file: str, old: str, new: str):
    def change(project):
        path = project / file
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new))

    return change


def flipped_weights(project):
    path = project / "mine/step0/model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


RUN, CORPUS, DRIFT = "data/trace/pins/run/mine.json", "data/trace/pins/corpus/local.json", "data/drift/pins/mine.json"
CHANGES = {
    "weights": (flipped_weights, {RUN, DRIFT}),
    "configuration": (replaced("mine/step0/config.json", '"rms_norm_eps": 1e-06', '"rms_norm_eps": 0.1'), {RUN, DRIFT}),
    "tokenizer": (replaced("mine/step1/tokenizer.json", "w39", "x39"), {RUN, DRIFT, CORPUS}),
    "a checkpoint gone": (lambda project: (project / "mine/step0/model.safetensors").unlink(), {RUN, DRIFT}),
    "corpus": (replaced("corpus.txt", "w4", "w5"), {CORPUS}),
}


@pytest.mark.parametrize(("change", "moved"), CHANGES.values(), ids=CHANGES)
def test_a_change_of_what_is_read_changes_the_pins_of_its_readers(change, moved, project):
    before = pins(project)
    assert set(before) == {RUN, CORPUS, DRIFT} and pins(project) == before
    change(project)
    after = pins(project)
    assert {name for name in before if before[name] != after[name]} == moved


def test_what_lies_elsewhere_is_not_asked_for(project):
    pin.main("run", "theirs")
    pin.main("corpus", "far")
    for name in ("run/theirs", "corpus/far"):
        assert json.loads((project / f"data/trace/pins/{name}.json").read_text()) == {}


def test_a_missing_corpus_is_named(project):
    (project / "corpus.txt").unlink()
    with pytest.raises(CorpusError, match="corpus.txt is not a file.*correct `file`"):
        pin.main("corpus", "local")
    with pytest.raises(CorpusError, match="'corpora': expected run or corpus"):
        pin.main("corpora", "local")
