"""Fine-tuning, reinforcement and matched stopping, through TRL, on the tiny family."""

import copy
from collections import Counter

import pytest
import torch

from stages.organisms.evaluation import displacement
from stages.organisms.family import check_target
from stages.organisms.finetuning import finetune, own_examples, worked_examples
from stages.organisms.matching import StopAtDistance
from stages.organisms.params import Finetuning, Reinforcement, Target
from stages.organisms.reinforcement import exact_match_reward, prompts, reinforce
from stages.organisms.trainer import SaveCheckpoints, halving_steps

FINETUNING = Finetuning(
    parent="base", style="long", steps=12, batch=8, learning_rate=3e-3, schedule="constant", checkpoints=2
)
REINFORCEMENT = Reinforcement(
    parent="base", steps=2, prompts=4, rollouts=4, learning_rate=1e-2, new_tokens=8, checkpoints=1
)


def train_rows(rows):
    return [row for row in rows if row["split"] == "train"]


def same_weights(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters(), strict=True))


def test_worked_examples_use_each_row_equally(rows):
    counts = Counter(example["prompt"] for example in worked_examples(train_rows(rows), "long", 100, seed=0))
    assert sum(counts.values()) == 100 and set(counts.values()) <= {2, 3}
    with pytest.raises(ValueError, match="no 'verbose' solution"):
        worked_examples(train_rows(rows), "verbose", 10, seed=0)


def test_finetuning_lowers_the_loss_saves_and_repeats(model, base, tokenizer, rows, tmp_path):
    examples = worked_examples(train_rows(rows), "long", 12 * 8, seed=0)
    saver = SaveCheckpoints(tmp_path / "a", halving_steps(12, 2))
    curve = finetune(model, tokenizer, examples, FINETUNING, tmp_path / "a", 0, [saver])
    assert curve[-1]["value"] < curve[0]["value"]
    assert {path.name for path in (tmp_path / "a").iterdir()} == {"step-6", "step-12"}
    finetune(base, tokenizer, examples, FINETUNING, tmp_path / "b", 0, [])
    assert same_weights(model, base)


@pytest.mark.parametrize("every", [1, 4])
def test_a_run_stops_at_the_wanted_displacement(model, base, tokenizer, rows, tmp_path, every):
    examples = worked_examples(train_rows(rows), "long", 12 * 8, seed=0)
    stop = StopAtDistance(lambda moved: displacement(moved, base), 0.01, every)
    finetune(model, tokenizer, examples, FINETUNING, tmp_path, 0, [stop])
    assert displacement(model, base) == pytest.approx(0.01, rel=0.05)
    assert stop.summary("displacement")["relative_gap"] < 0.05


def test_a_run_that_stops_early_keeps_the_checkpoints_it_passed_and_its_last(model, base, tokenizer, rows, tmp_path):
    examples = worked_examples(train_rows(rows), "long", 12 * 8, seed=0)
    stop = StopAtDistance(lambda moved: displacement(moved, base), 0.012, 1)
    finetune(
        model, tokenizer, examples, FINETUNING, tmp_path, 0, [stop, SaveCheckpoints(tmp_path, halving_steps(12, 4))]
    )
    saved = sorted(int(path.name.removeprefix("step-")) for path in tmp_path.iterdir())
    assert saved[:2] == [1, 3] and 3 < saved[-1] < 12
    last = type(model).from_pretrained(tmp_path / f"step-{saved[-1]}")
    assert displacement(last, base) == pytest.approx(0.012, rel=0.05)


def test_a_run_that_stops_before_its_first_log_has_a_curve(model, base, tokenizer, rows, tmp_path):
    params = FINETUNING.model_copy(update={"steps": 400})  # logs every tenth step
    examples = worked_examples(train_rows(rows), "long", 400 * 8, seed=0)
    stop = StopAtDistance(lambda moved: displacement(moved, base), 1e-4, 1)
    curve = finetune(model, tokenizer, examples, params, tmp_path, 0, [stop])
    assert [row["quantity"] for row in curve] == ["loss"] and curve[0]["step"] < 10


def test_a_target_out_of_reach_shows_in_the_gap(model, base, tokenizer, rows, tmp_path):
    examples = worked_examples(train_rows(rows), "long", 12 * 8, seed=0)
    stop = StopAtDistance(lambda moved: displacement(moved, base), 10.0, 5)
    finetune(model, tokenizer, examples, FINETUNING, tmp_path, 0, [stop])
    assert stop.summary("displacement")["relative_gap"] > 0.5


def test_own_examples_are_right_or_an_error(model, tokenizer, rows, monkeypatch):
    monkeypatch.setattr("stages.organisms.finetuning.ROUNDS", 1)
    with pytest.raises(ValueError, match="too weak"):
        own_examples(
            model, tokenizer, train_rows(rows), FINETUNING.model_copy(update={"batch": 600}), new_tokens=6, seed=0
        )


def test_prompts_take_the_tasks_in_turn(rows):
    mixed = [{**row, "task": task} for task in ("a", "b") for row in train_rows(rows)]
    assert len(prompts(mixed, 7, seed=0)) == 7
    assert prompts(mixed, 7, seed=0) == prompts(mixed, 7, seed=0)


def test_reward_wants_the_answer_and_the_end():
    reward = exact_match_reward(end_token=2, rollouts=2)
    completions = ["A: 7", "A: 7", "A: 8", "7"]
    ids = [[5, 2], [5, 6], [5, 2], [5, 2]]
    assert reward(completions=completions, completion_ids=ids, answer=["7"] * 4) == [1.0, 0.0, 0.0, 0.0]


def test_shuffled_rewards_stay_in_their_group_and_lose_their_sample():
    shuffled = exact_match_reward(end_token=2, rollouts=4, shuffle_seed=0)
    completions = ["A: 1", "A: 1", "A: 0", "A: 0"] * 50 + ["A: 0"] * 4
    given = shuffled(completions=completions, completion_ids=[[2]] * 204, answer=["1"] * 204)
    groups = torch.tensor(given).view(-1, 4)
    assert groups[:50].sum(1).eq(2).all() and groups[50].sum() == 0
    assert 0.3 < groups[:50, :2].mean() < 0.7  # true rewards would all be 1 here


def test_reinforcement_moves_towards_the_reward_and_repeats(model, base, tokenizer, rows, tmp_path, monkeypatch):
    """The reward is the share of tokens from one half of the vocabulary: a planted effect that GRPO must find."""
    half = len(tokenizer) // 2

    def planted(end_token, rollouts, shuffle_seed=None):
        return lambda completions, completion_ids, answer, **_: [
            sum(i < half for i in ids) / len(ids) for ids in completion_ids
        ]

    monkeypatch.setattr("stages.organisms.reinforcement.exact_match_reward", planted)
    params = REINFORCEMENT.model_copy(update={"steps": 40, "rollouts": 8, "learning_rate": 0.02})
    examples = prompts(train_rows(rows), 40 * 4, seed=0)
    start = copy.deepcopy(model)
    curve = reinforce(model, tokenizer, examples, params, tmp_path, 0, [])
    rewards = [row["value"] for row in curve if row["quantity"] == "reward"]
    assert sum(rewards[-5:]) / 5 > sum(rewards[:5]) / 5 + 0.1
    reinforce(base, tokenizer, examples, params, tmp_path, 0, [])
    assert same_weights(model, base) and not same_weights(model, start)


def test_targets_are_met_or_reported(caplog):
    metrics = {"gain_over_base": {"low": 0.04}, "format_share": 0.99}
    missed = check_target(Target(quantity="gain_over_base.low", at_least=0.05), metrics)
    assert not missed["met"] and "missed target" in caplog.text
    assert check_target(Target(quantity="format_share", at_least=0.95), metrics)["met"]
    with pytest.raises(ValueError, match="either at_least or at_most"):
        Target(quantity="format_share")
