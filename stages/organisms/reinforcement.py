"""Reinforce a model by GRPO of TRL, with a verifiable reward: 1 for an exact answer."""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable

import torch
from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerFast
from trl import GRPOConfig, GRPOTrainer

from stages.organisms.params import Reinforcement
from stages.organisms.trainer import TrainingRun, shared_arguments, train
from stages.tasks.item import verify


def training_prompts(rows: list[dict], count: int, seed: int) -> list[dict]:
    """Return ``count`` training prompts with their answers, the tasks in turn."""
    rng = random.Random(f"{seed}-reinforcement")
    tasks = list(dict.fromkeys(row["task"] for row in rows))
    pools = {task: [row for row in rows if row["task"] == task] for task in tasks}
    chosen = [rng.choice(pools[tasks[index % len(tasks)]]) for index in range(count)]
    return [{"prompt": row["prompt"], "answer": row["answer"]} for row in chosen]


def shuffling_generator(seed: int) -> torch.Generator:
    """Return the random stream that shuffles rewards; seeded by the number alone it would be that of the completions."""
    return torch.Generator().manual_seed(zlib.crc32(f"shuffle-{seed}".encode()))


def exact_match_reward(
    end_token: int, rollouts: int, generator: torch.Generator | None = None
) -> Callable[..., list[float]]:
    """Return a reward function: 1 where the completion ended by itself and its answer is right, else 0.

    With a ``generator`` the rewards are permuted inside each group of ``rollouts``: the same
    rewards, so the same number and size of updates, but no longer tied to what was sampled.
    """

    def reward(completions: list[str], completion_ids: list[list[int]], answer: list[str], **_) -> list[float]:
        values = [
            float(ids[-1] == end_token and verify(text, right))
            for text, ids, right in zip(completions, completion_ids, answer, strict=True)
        ]
        if generator is None:
            return values
        groups = torch.tensor(values).view(-1, rollouts)  # (prompts, rollouts)
        return torch.cat([group[torch.randperm(rollouts, generator=generator)] for group in groups]).tolist()

    return reward


def reinforce(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    examples: list[dict],
    params: Reinforcement,
    run: TrainingRun,
) -> list[dict]:
    """Train ``model`` in place on ``examples`` (prompt, answer); return the training curve.

    One gradient step per batch of ``prompts x rollouts`` samples at temperature 1, no KL penalty;
    Dr. GRPO's loss, whose normaliser does not depend on the lengths of the completions.
    """
    arguments = GRPOConfig(
        **shared_arguments(params.steps, params.learning_rate, run),
        per_device_train_batch_size=params.prompts * params.rollouts,
        num_generations=params.rollouts,
        max_completion_length=params.new_tokens,
        lr_scheduler_type="constant_with_warmup",
        warmup_steps=5,
        beta=0.0,
        temperature=1.0,
        top_k=0,
        top_p=1.0,
        loss_type="dr_grpo",
        shuffle_dataset=False,
    )
    generator = shuffling_generator(run.seed) if params.shuffle_rewards else None
    trainer = GRPOTrainer(
        model=model,
        reward_funcs=exact_match_reward(tokenizer.eos_token_id, params.rollouts, generator),
        args=arguments,
        train_dataset=Dataset.from_list(examples),
        processing_class=tokenizer,
        callbacks=run.callbacks,
    )
    quantities = {"reward": "reward", "completions/mean_length": "completion tokens"}
    return train(trainer, quantities, run, [generator] if generator else [])
