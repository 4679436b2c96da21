"""Matched stopping: runs end at the distance that is their target, with their checkpoints and their curve."""

import pytest

from stages.organisms.evaluation import displacement
from stages.organisms.finetuning import finetune, worked_examples
from stages.organisms.matching import StopAtDistance
from stages.organisms.resumption import TrainingStates
from stages.organisms.trainer import SaveCheckpoints, TrainingRun, halving_steps
from tests.organisms.conftest import FINETUNING, train_rows


@pytest.mark.parametrize("every", [1, 4])
def test_a_run_stops_at_the_wanted_displacement(model, base, tokenizer, rows, tmp_path, every):
    examples = worked_examples(train_rows(rows), "long", 12 * 8, seed=0)
    stop = StopAtDistance(lambda moved: displacement(moved, base), 0.01, every)
    finetune(model, tokenizer, examples, FINETUNING, TrainingRun(TrainingStates(tmp_path), 0, [stop]))
    assert displacement(model, base) == pytest.approx(0.01, rel=0.05)
    assert stop.summary("displacement")["relative_gap"] < 0.05


def test_a_run_that_stops_early_keeps_the_checkpoints_it_passed_and_its_last(model, base, tokenizer, rows, tmp_path):
    examples = worked_examples(train_rows(rows), "long", 12 * 8, seed=0)
    stop = StopAtDistance(lambda moved: displacement(moved, base), 0.012, 1)
    finetune(
        model,
        tokenizer,
        examples,
        FINETUNING,
        TrainingRun(
            TrainingStates(tmp_path / "run"), 0, [stop, SaveCheckpoints(tmp_path / "saved", halving_steps(12, 4))]
        ),
    )
    saved = sorted(int(path.name.removeprefix("step-")) for path in (tmp_path / "saved").iterdir())
    assert saved[:2] == [1, 3] and 3 < saved[-1] < 12
    last = type(model).from_pretrained(tmp_path / f"saved/step-{saved[-1]}")
    assert displacement(last, base) == pytest.approx(0.012, rel=0.05)


def test_a_run_that_stops_before_its_first_log_has_a_curve(model, base, tokenizer, rows, tmp_path):
    params = FINETUNING.model_copy(update={"steps": 400})  # logs every tenth step
    examples = worked_examples(train_rows(rows), "long", 400 * 8, seed=0)
    stop = StopAtDistance(lambda moved: displacement(moved, base), 1e-4, 1)
    curve = finetune(model, tokenizer, examples, params, TrainingRun(TrainingStates(tmp_path), 0, [stop]))
    assert [row["quantity"] for row in curve] == ["loss"] and curve[0]["step"] < 10


def test_a_target_out_of_reach_shows_in_the_gap(model, base, tokenizer, rows, tmp_path):
    examples = worked_examples(train_rows(rows), "long", 12 * 8, seed=0)
    stop = StopAtDistance(lambda moved: displacement(moved, base), 10.0, 5)
    finetune(model, tokenizer, examples, FINETUNING, TrainingRun(TrainingStates(tmp_path), 0, [stop]))
    assert stop.summary("displacement")["relative_gap"] > 0.5
