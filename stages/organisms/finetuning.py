"""Supervised fine-tuning by TRL, with the loss on the completion alone."""

from __future__ import annotations

import random
from pathlib import Path

from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerFast, TrainerCallback
from trl import SFTConfig, SFTTrainer

from stages.organisms.evaluation import sample
from stages.organisms.params import Finetuning
from stages.organisms.trainer import curve, run, shared_arguments
from stages.tasks.item import verify

OWN_SAMPLES = 3000
"""Correct samples to collect; training goes through them as often as it must."""
ROUND = 512
ROUNDS = 40
"""Rounds of sampling after which it has to do with fewer; fewer than a batch are an error."""


def worked_examples(rows: list[dict], style: str, count: int, seed: int) -> list[dict]:
    """``count`` prompts with their worked solution, in random order, each row used equally often."""
    missing = [row["id"] for row in rows if style not in row]
    if missing:
        raise ValueError(
            f"{len(missing)} training rows have no {style!r} solution, first {missing[0]}: run `dvc repro prepare`"
        )
    order = repeated(rows, count, random.Random(f"{seed}-finetuning"))
    return [{"prompt": row["prompt"], "completion": row[style]} for row in order]


def repeated(rows: list[dict], count: int, rng: random.Random) -> list[dict]:
    """``count`` rows in random order, each used equally often but for the last round."""
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
    """The model's own completions that the verifier accepts (rejection sampling), enough for the run."""
    rng = random.Random(f"{seed}-own")
    count = params.steps * params.batch
    examples: list[dict] = []
    for round_ in range(ROUNDS):
        batch = rng.choices(rows, k=ROUND)
        completions = sample(model, tokenizer, [row["prompt"] for row in batch], new_tokens, seed * ROUNDS + round_)
        for row, ids in zip(batch, completions, strict=True):
            text = tokenizer.decode(ids, skip_special_tokens=True)
            if ids[-1] == tokenizer.eos_token_id and verify(text, row["answer"]):
                examples.append({"prompt": row["prompt"], "completion": text})
        if len(examples) >= min(count, OWN_SAMPLES):
            break
    if len(examples) < params.batch:
        raise ValueError(
            f"{len(examples)} correct samples in {ROUNDS * ROUND}, a batch needs {params.batch}: the parent is too weak"
        )
    return repeated(examples, count, rng)


def finetune(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    examples: list[dict],
    params: Finetuning,
    folder: Path,
    seed: int,
    callbacks: list[TrainerCallback],
) -> list[dict]:
    """Train ``model`` in place on ``examples`` (prompt, completion); return the training curve."""
    arguments = SFTConfig(
        **shared_arguments(params.steps, params.learning_rate, seed, folder),
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
        callbacks=callbacks,
    )
    return curve(run(trainer), {"loss": "loss"})
