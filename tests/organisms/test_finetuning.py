"""Fine-tuning through TRL, on the tiny family."""

from collections import Counter

import pytest

from stages.organisms.finetuning import finetune, own_examples, worked_examples
from stages.organisms.resumption import TrainingStates
from stages.organisms.trainer import SaveCheckpoints, TrainingRun, halving_steps
from tests.organisms.conftest import FINETUNING, same_weights, train_rows


def test_worked_examples_use_each_row_equally(rows):
    counts = Counter(example["prompt"] for example in worked_examples(train_rows(rows), "long", 100, seed=0))
    assert sum(counts.values()) == 100 and set(counts.values()) <= {2, 3}
    with pytest.raises(ValueError, match="no 'verbose' solution"):
        worked_examples(train_rows(rows), "verbose", 10, seed=0)


def test_finetuning_lowers_the_loss_saves_and_repeats(model, base, tokenizer, rows, tmp_path):
    examples = worked_examples(train_rows(rows), "long", 12 * 8, seed=0)
    saver = SaveCheckpoints(tmp_path / "checkpoints", halving_steps(12, 2))
    curve = finetune(model, tokenizer, examples, FINETUNING, TrainingRun(TrainingStates(tmp_path / "a"), 0, [saver]))
    assert curve[-1]["value"] < curve[0]["value"]
    assert {path.name for path in (tmp_path / "checkpoints").iterdir()} == {"step-6", "step-12"}
    finetune(base, tokenizer, examples, FINETUNING, TrainingRun(TrainingStates(tmp_path / "b"), 0, []))
    assert same_weights(model, base)


def test_own_examples_are_right_or_an_error(model, tokenizer, rows, monkeypatch):
    monkeypatch.setattr("stages.organisms.finetuning.ROUNDS", 1)
    with pytest.raises(ValueError, match="too weak"):
        own_examples(
            model, tokenizer, train_rows(rows), FINETUNING.model_copy(update={"batch": 600}), new_tokens=6, seed=0
        )
