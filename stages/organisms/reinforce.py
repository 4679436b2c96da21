"""Reinforcement learning with a verifiable reward, from a family's base or from its SFT model.

Usage: python -m stages.organisms.reinforce ORGANISM SEED
"""

from __future__ import annotations

import pandas as pd

from stages.organisms.family import (
    MODELS,
    SAMPLES,
    TASKS,
    check_target,
    load_organism,
    model_name,
    quiet_libraries,
    report,
    write_organism,
)  # fmt: skip
from stages.organisms.params import Budget, Evaluation, Reinforcement
from stages.organisms.reinforcement import prompts, reinforce
from stages.organisms.trainer import SaveCheckpoints, halving_steps
from stages.shared.command import run_stage
from stages.shared.files import atomic_folder
from stages.shared.params import load
from stages.tasks.rows import read_tasks


def main(organism: str, seed: int) -> None:
    quiet_libraries()
    recipe, evaluation = load(f"organisms.{organism}", Reinforcement), load("organisms.evaluation", Evaluation)
    params = recipe.model_copy(update={"steps": load("organisms.budget", Budget).steps(recipe.steps)})
    train, held_out = read_tasks(TASKS, "train"), read_tasks(TASKS, "held_out", evaluation.prompts)
    base_name, parent_name, name = (model_name(member, seed) for member in ("base", params.parent, organism))
    (base, _), (model, tokenizer) = load_organism(base_name), load_organism(parent_name)
    parent = load_organism(parent_name)[0] if params.parent != "base" else None

    with atomic_folder(MODELS / name) as folder:
        checkpoints = folder / "checkpoints"
        saver = SaveCheckpoints(checkpoints, halving_steps(params.steps, params.checkpoints))
        examples = prompts(train, params.steps * params.prompts, seed)
        curve = reinforce(model, tokenizer, examples, params, checkpoints, seed, [saver])
        base_samples = pd.read_parquet(MODELS / base_name / SAMPLES)
        metrics, samples = report(model, tokenizer, held_out, evaluation, (base, base_samples), parent)
        if params.target is not None:
            metrics["target"] = check_target(params.target, metrics)
        write_organism(name, folder, model, tokenizer, metrics, samples, curve)


if __name__ == "__main__":
    run_stage(main, __doc__)
