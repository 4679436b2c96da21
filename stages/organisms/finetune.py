"""Supervised fine-tuning of a family's base or SFT model, to the end or until it has moved as far as a sibling.

Usage: python -m stages.organisms.finetune ORGANISM SEED
"""

from __future__ import annotations

import pandas as pd

from stages.organisms.evaluation import displacement, kl_divergence, sample_rows
from stages.organisms.family import (
    MODELS,
    SAMPLES,
    TASKS,
    check_target,
    load_organism,
    model_name,
    quiet_libraries,
    read_distance,
    report,
    write_organism,
)  # fmt: skip
from stages.organisms.finetuning import finetune, own_examples, worked_examples
from stages.organisms.matching import StopAtDistance
from stages.organisms.params import Budget, Evaluation, Finetuning
from stages.organisms.trainer import SaveCheckpoints, halving_steps
from stages.shared.command import run_stage
from stages.shared.files import atomic_folder
from stages.shared.params import load
from stages.tasks.rows import read_tasks


def main(organism: str, seed: int) -> None:
    quiet_libraries()
    recipe, evaluation = load(f"organisms.{organism}", Finetuning), load("organisms.evaluation", Evaluation)
    params = recipe.model_copy(update={"steps": load("organisms.budget", Budget).steps(recipe.steps)})
    train, held_out = read_tasks(TASKS, "train"), read_tasks(TASKS, "held_out", evaluation.prompts)
    base_name, parent_name, name = (model_name(member, seed) for member in ("base", params.parent, organism))
    (base, _), (model, tokenizer) = load_organism(base_name), load_organism(parent_name)
    parent = load_organism(parent_name)[0] if params.parent != "base" else None
    start = parent or base

    if params.style == "own":
        examples = own_examples(start, tokenizer, train, params, evaluation.new_tokens, seed)
    else:
        examples = worked_examples(train, params.style, params.steps * params.batch, seed)

    distances = {
        "displacement": lambda moved: displacement(moved, start),
        "kl": lambda moved: (
            kl_divergence(
                moved,
                start,
                tokenizer,
                sample_rows(moved, tokenizer, held_out, evaluation, limit=evaluation.kl_prompts),
            ).value
        ),
    }
    stop = None
    if params.stop is not None:
        wanted = read_distance(model_name(params.stop.like, seed), params.stop.by, params.parent)
        stop = StopAtDistance(distances[params.stop.by], wanted, params.stop.every)

    with atomic_folder(MODELS / name) as folder:
        checkpoints = folder / "checkpoints"
        saver = SaveCheckpoints(checkpoints, halving_steps(params.steps, params.checkpoints))
        callbacks = [stop, saver] if stop else [saver]
        curve = finetune(model, tokenizer, examples, params, checkpoints, seed, callbacks)
        base_samples = pd.read_parquet(MODELS / base_name / SAMPLES)
        metrics, samples = report(model, tokenizer, held_out, evaluation, (base, base_samples), parent)
        if stop is not None:
            metrics["matching"] = stop.summary(params.stop.by)
        if params.target is not None:
            metrics["target"] = check_target(params.target, metrics)
        write_organism(name, folder, model, tokenizer, metrics, samples, curve)


if __name__ == "__main__":
    run_stage(main, __doc__)
