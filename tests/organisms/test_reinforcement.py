"""Reinforcement learning through TRL: the prompts, the reward, and a planted effect that it must find."""

import copy

import torch

from stages.organisms.params import Reinforcement
from stages.organisms.reinforcement import exact_match_reward, reinforce, shuffling_generator, training_prompts
from stages.organisms.resumption import TrainingStates
from stages.organisms.trainer import TrainingRun
from tests.organisms.conftest import same_weights, train_rows

REINFORCEMENT = Reinforcement(
    parent="base",
    steps=2,
    prompts=4,
    rollouts=4,
    learning_rate=1e-2,
    new_tokens=8,
    checkpoints=1,
    shuffle_rewards=False,
)


def test_prompts_take_the_tasks_in_turn(rows):
    mixed = [{**row, "task": task} for task in ("a", "b") for row in train_rows(rows)]
    assert len(training_prompts(mixed, 7, seed=0)) == 7
    assert training_prompts(mixed, 7, seed=0) == training_prompts(mixed, 7, seed=0)


def test_reward_wants_the_answer_and_the_end():
    reward = exact_match_reward(end_token=2, rollouts=2)
    completions = ["A: 7", "A: 7", "A: 8", "7"]
    ids = [[5, 2], [5, 6], [5, 2], [5, 2]]
    assert reward(completions=completions, completion_ids=ids, answer=["7"] * 4) == [1.0, 0.0, 0.0, 0.0]


def test_shuffled_rewards_stay_in_their_group_and_lose_their_sample():
    shuffled = exact_match_reward(end_token=2, rollouts=4, generator=shuffling_generator(0))
    completions = ["A: 1", "A: 1", "A: 0", "A: 0"] * 50 + ["A: 0"] * 4
    given = shuffled(completions=completions, completion_ids=[[2]] * 204, answer=["1"] * 204)
    groups = torch.tensor(given).view(-1, 4)
    assert groups[:50].sum(1).eq(2).all() and groups[50].sum() == 0
    assert 0.3 < groups[:50, :2].mean() < 0.7  # true rewards would all be 1 here


def test_reinforcement_moves_towards_the_reward_and_repeats(model, base, tokenizer, rows, tmp_path, monkeypatch):
    """The reward is the share of tokens from one half of the vocabulary: a planted effect that GRPO must find."""
    half = len(tokenizer) // 2

    def planted(end_token, rollouts, generator=None):
        return lambda completions, completion_ids, answer, **_: [
            sum(i < half for i in ids) / len(ids) for ids in completion_ids
        ]

    monkeypatch.setattr("stages.organisms.reinforcement.exact_match_reward", planted)
    params = REINFORCEMENT.model_copy(update={"steps": 40, "rollouts": 8, "learning_rate": 0.02})
    examples = training_prompts(train_rows(rows), 40 * 4, seed=0)
    start = copy.deepcopy(model)
    curve = reinforce(model, tokenizer, examples, params, TrainingRun(TrainingStates(tmp_path / "a"), 0, []))
    rewards = [row["value"] for row in curve if row["quantity"] == "reward"]
    assert sum(rewards[-5:]) / 5 > sum(rewards[:5]) / 5 + 0.1
    reinforce(base, tokenizer, examples, params, TrainingRun(TrainingStates(tmp_path / "b"), 0, []))
    assert same_weights(model, base) and not same_weights(model, start)
