"""Supervised fine-tuning by TRL, with the loss on the completion alone."""

from __future__ import annotations

import random
from pathlib import Path

from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerFast, TrainerCallback
from trl import SFTConfig, SFTTrainer

from stages.organisms.evaluation import sample
from stages.organisms.trainer import curve, evenly_spaced, shared_arguments
from stages.params.organisms import Finetuning
from stages.tasks.item import verify

OWN_SAMPLE_ROUNDS = 40
"""Rounds of sampling after which a parent that hardly ever answers right is an error, not a loop."""


def worked_examples(rows: list[dict], style: str, count: int, seed: int) -> list[dict]:
    """``count`` prompts with their worked solution, in random order, each row used equally often."""
    missing = [row["id"] for row in rows if style not in row]
    if missing:
        raise ValueError(f"{len(missing)} training rows have no {style!r} solution, first {missing[0]}: run `dvc repro prepare`")
    rng = random.Random(f"{seed}-finetuning")
    order = []
    while len(order) < count:
        order += rng.sample(rows, len(rows))
    return [{"prompt": row["prompt"], "completion": row[style]} for row in order[:count]]


def own_examples(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, rows: list[dict], count: int, new_tokens: int, seed: int
) -> list[dict]:
    """``count`` of the model's own completions that the verifier accepts (rejection sampling)."""
    rng = random.Random(f"{seed}-own")
    examples: list[dict] = []
    for round_ in range(OWN_SAMPLE_ROUNDS):
        batch = rng.choices(rows, k=512)
        completions = sample(model, tokenizer, [row["prompt"] for row in batch], new_tokens, seed * OWN_SAMPLE_ROUNDS + round_)
        for row, ids in zip(batch, completions, strict=True):
            text = tokenizer.decode(ids, skip_special_tokens=True)
            if ids[-1] == tokenizer.eos_token_id and verify(text, row["answer"]):
                examples.append({"prompt": row["prompt"], "completion": text})
        if len(examples) >= count:
            return examples[:count]
    raise ValueError(f"only {len(examples)} correct samples in {OWN_SAMPLE_ROUNDS * 512}, {count} asked for: the parent is too weak")


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
        model=model, args=arguments, train_dataset=Dataset.from_list(examples), processing_class=tokenizer, callbacks=callbacks
    )
    trainer.train()
    return curve(trainer.state.log_history, {"loss": "loss"})
