"""Fine-tune a model by TRL, with the loss on the completion alone."""

from __future__ import annotations

import random

from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerFast
from trl import SFTConfig, SFTTrainer

from stages.organisms.evaluation import sample_completions
from stages.organisms.matching import StopAtDistance
from stages.organisms.params import Finetuning
from stages.organisms.trainer import TrainingRun, shared_arguments, train
from stages.tasks.item import verify

# So many correct samples are collected; training goes through them as often as it must.
OWN_SAMPLES = 3000
# Prompts of a round of sampling.
ROUND_PROMPTS = 512
# After so many rounds the run has to do with fewer samples; fewer than a batch are an error.
ROUNDS = 40


def worked_examples(rows: list[dict], style: str, count: int, seed: int) -> list[dict]:
    """Return ``count`` prompts with their worked solution, in random order, each row used equally often.

    Raises ValueError where a row has no solution of the ``style``.
    """
    missing = [row["id"] for row in rows if style not in row]
    if missing:
        raise ValueError(
            f"{len(missing)} training rows have no {style!r} solution, first {missing[0]}: run `dvc repro prepare`"
        )
    order = repeated(rows, count, random.Random(f"{seed}-finetuning"))
    return [{"prompt": row["prompt"], "completion": row[style]} for row in order]


def repeated(rows: list[dict], count: int, rng: random.Random) -> list[dict]:
    """Return ``count`` rows in random order, each used equally often but for the last round."""
    order: list[dict] = []
    while len(order) < count:
        order += rng.sample(rows, len(rows))
    return order[:count]


def own_examples(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    rows: list[dict],
    params: Finetuning,
    new_tokens: int,
    seed: int,
) -> list[dict]:
    """Return the model's own completions that the verifier accepts (rejection sampling), enough for the run.

    Raises ValueError where there are fewer than a batch.
    """
    rng = random.Random(f"{seed}-own")
    count = params.steps * params.batch
    examples: list[dict] = []
    for round_index in range(ROUNDS):
        batch = rng.choices(rows, k=ROUND_PROMPTS)
        prompts = [row["prompt"] for row in batch]
        completions = sample_completions(model, tokenizer, prompts, new_tokens, seed * ROUNDS + round_index)
        for row, ids in zip(batch, completions, strict=True):
            text = tokenizer.decode(ids, skip_special_tokens=True)
            if ids[-1] == tokenizer.eos_token_id and verify(text, row["answer"]):
                examples.append({"prompt": row["prompt"], "completion": text})
        if len(examples) >= min(count, OWN_SAMPLES):
            break
    if len(examples) < params.batch:
        raise ValueError(
            f"{len(examples)} correct samples in {ROUNDS * ROUND_PROMPTS}, a batch needs {params.batch}: "
            "the parent is too weak"
        )
    return repeated(examples, count, rng)


def finetune(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    examples: list[dict],
    params: Finetuning,
    run: TrainingRun,
) -> list[dict]:
    """Train ``model`` in place on ``examples`` (prompt, completion); return the training curve."""
    arguments = SFTConfig(
        **shared_arguments(params.steps, params.learning_rate, run),
        per_device_train_batch_size=params.batch,
        lr_scheduler_type="linear" if params.schedule == "linear" else "constant_with_warmup",
        warmup_steps=10,
        completion_only_loss=True,
        max_length=None,
    )
    trainer = SFTTrainer(
        model=model,
        args=arguments,
        train_dataset=Dataset.from_list(examples),
        processing_class=tokenizer,
        callbacks=run.callbacks,
    )
    stops = [callback for callback in run.callbacks if isinstance(callback, StopAtDistance)]
    return train(trainer, {"loss": "loss"}, run, stops)
