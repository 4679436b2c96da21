"""The scratch store of checkpoints: whatever a result depends on makes it new, and nothing else does."""

import json
from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import yaml

from stages.activations.sequences import Sequences
from stages.models.runs import SavedCheckpoint
from stages.shared import scratch
from stages.trace import checkpoints
from stages.trace.answers import Answer
from stages.trace.checkpoint import CheckpointInputs, tokenizer_content
from stages.trace.checkpoints import checkpoint_result
from stages.trace.params import Trace
from stages.trace.tables import PER_CHECKPOINT, CheckpointResult
from tests.support.project import ROOT
from tests.support.tiny_models import tiny_model, tiny_tokenizer

PARAMS = Trace(**yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))["trace"])
RESULT = CheckpointResult({name: pd.DataFrame() for name in PER_CHECKPOINT}, {}, "hash", 7)


class Case:
    """Everything that `checkpoint_result` is given, and how often it computed."""

    def __init__(self, folder, monkeypatch):
        self.monkeypatch, self.folder, self.computed = monkeypatch, folder / "step-4", 0
        tiny_model("olmo3").save_pretrained(self.folder)
        tiny_tokenizer().save_pretrained(self.folder)
        self.saved = SavedCheckpoint(4, None, "step-4", self.folder, None)
        ids = np.arange(20).reshape(4, 5)
        answers = {"facts": [Answer("a", [1, 2, 3], 1)]}
        questions = {"sums": [{"id": "q", "prompt": "w3", "answer": "w4"}]}
        self.inputs = CheckpointInputs(tiny_tokenizer(), Sequences(ids, ids > 3), answers, questions)
        self.precision, self.params, self.scratch = "float32", PARAMS, folder / "scratch"
        monkeypatch.setattr(checkpoints, "measure_checkpoint", self.compute)

    def compute(self, *_):
        self.computed += 1
        return RESULT

    def run(self):
        return checkpoint_result("base-s0", self.saved, self.inputs, self.precision, self.params, self.scratch)

    def give(self, **inputs):
        self.inputs = self.inputs._replace(**inputs)

    def edit_json(self, name, **changes):
        path = self.folder / name
        path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | changes), encoding="utf-8")

    def edit_weights(self):
        path = self.folder / "model.safetensors"
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(content)

    def edit_tokenizer(self):
        tokenizer = tiny_tokenizer()
        tokenizer.add_tokens(["new"])
        self.give(tokenizer=tokenizer)

    def change_param(self, name, value):
        self.params = self.params.model_copy(update={name: value})

    def move_to_gpu(self):
        self.monkeypatch.setattr(checkpoints, "device", lambda: SimpleNamespace(type="cuda"))
        self.monkeypatch.setattr(checkpoints, "use", lambda device: None)


@pytest.fixture
def case(tmp_path, monkeypatch):
    return Case(tmp_path, monkeypatch)


ANEW = {
    "weights": lambda case: case.edit_weights(),
    "config": lambda case: case.edit_json("config.json", rope_theta=1234.0),
    "generation config": lambda case: case.edit_json("generation_config.json", repetition_penalty=2.0),
    "tokenizer file": lambda case: case.edit_json("tokenizer.json", version="2.0"),
    "tokenizer": lambda case: case.edit_tokenizer(),
    "text": lambda case: case.give(sequences=case.inputs.sequences._replace(ids=case.inputs.sequences.ids[::-1])),
    "content tokens": lambda case: case.give(sequences=case.inputs.sequences._replace(content=case.inputs.sequences.ids > 4)),
    "answers": lambda case: case.give(answers={"facts": [Answer("a", [1, 2, 3], 2)]}),
    "task of answers": lambda case: case.give(answers={"guilds": [Answer("a", [1, 2, 3], 1)]}),
    "questions": lambda case: case.give(questions={"sums": [{"id": "q", "prompt": "w3", "answer": "w5"}]}),
    "precision": lambda case: setattr(case, "precision", "bfloat16"),
    "blocks": lambda case: case.change_param("blocks", PARAMS.blocks * 2),
    "tokens per batch": lambda case: case.change_param("tokens_per_batch", PARAMS.tokens_per_batch + 1),
    "interval depths": lambda case: case.change_param("interval_depths", [0.25]),
    "bands": lambda case: case.change_param("bands", [0.0, 0.7]),
    "decay ranks": lambda case: case.change_param("decay_ranks", PARAMS.decay_ranks.model_copy(update={"last": 0.9})),
    "accuracy": lambda case: case.change_param("accuracy", None),
    "confidence": lambda case: case.change_param("confidence", 0.51),
    "seed": lambda case: case.change_param("seed", PARAMS.seed + 1),
    "code": lambda case: case.monkeypatch.setattr(scratch, "identity", lambda *modules: "edited"),
    "library": lambda case: case.monkeypatch.setattr(scratch, "version", lambda library: "99.0"),
    "device": lambda case: case.move_to_gpu(),
}  # fmt: skip
THE_SAME = {
    "nothing": lambda case: None,
    "another list of recipes": lambda case: case.change_param("organisms", ["base"]),
    "another list of runs": lambda case: case.change_param("runs", ["pythia-14m"]),
    "fewer checkpoints": lambda case: case.change_param("checkpoints", 2),
    "another name of the text": lambda case: case.change_param("text", "renamed"),
    "a tokenizer that has padded": lambda case: case.inputs.tokenizer(["w3 w4", "w5"], padding=True, truncation=True, max_length=3),
    "a file that no model reads": lambda case: (case.folder / "notes.md").write_text("mine", encoding="utf-8"),
}  # fmt: skip


@pytest.mark.parametrize("change", ANEW)
def test_a_changed_ingredient_computes_anew(case, change):
    first = case.run()
    ANEW[change](case)
    case.run()
    assert case.computed == 2 and first[1].weight_hash == "hash"


@pytest.mark.parametrize("change", THE_SAME)
def test_what_a_result_does_not_depend_on_takes_the_stored_one(case, change):
    case.run()
    THE_SAME[change](case)
    assert case.run()[1].parameters == 7 and case.computed == 1


def test_every_param_is_in_the_key_or_known_to_be_elsewhere(case):
    """A new param is in the key by itself: only names, and what the inputs hold, are left out."""
    contents = []
    case.monkeypatch.setattr(checkpoints, "scratch_key", lambda content, *modules: contents.append(content) or "key")
    case.run()
    assert set(Trace.model_fields) - set(contents[0]["params"]) == {"organisms", "runs", "checkpoints", "text"}


def test_another_commit_of_the_hub_computes_anew(case):
    case.saved = SavedCheckpoint(4, None, "main", None, "someone/model")
    case.monkeypatch.setattr(checkpoints, "open_saved", lambda run, saved, commit: nullcontext(commit))
    for commit, computed in (("a", 1), ("a", 1), ("b", 2)):
        case.monkeypatch.setattr(checkpoints, "weight_identity", lambda saved, commit=commit: commit)
        assert case.run()[0] == commit and case.computed == computed


def test_a_tokenizer_without_a_fast_backend_is_told_by_its_vocabulary():
    slow = SimpleNamespace(
        is_fast=False, special_tokens_map={}, eos_token_id=2, pad_token_id=0, get_vocab=lambda: {"b": 1, "a": 0}
    )
    assert tokenizer_content(slow) == ["{}", 2, 0, [("a", 0), ("b", 1)]]
