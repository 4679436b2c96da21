"""Reinforce a family's base or SFT model with a verifiable reward.

Usage: python -m stages.organisms.reinforce ORGANISM SEED
"""

from __future__ import annotations

import shutil

from stages.organisms.family import (
    MODELS,
    TASKS,
    TrainingResult,
    check_target,
    content_of,
    evaluate,
    load_ancestors,
    load_organism,
    model_name,
    quiet_libraries,
    write_organism,
)
from stages.organisms.params import Evaluation, Reinforcement, load_recipe
from stages.organisms.reinforcement import reinforce, training_prompts
from stages.organisms.resumption import resumable
from stages.organisms.trainer import SaveCheckpoints, TrainingRun, halving_steps
from stages.shared.cells import recipe_of_cell
from stages.shared.command import run_stage
from stages.shared.files import atomic_folder
from stages.shared.params import load
from stages.tasks.rows import read_tasks


def main(organism: str, seed: int) -> None:
    quiet_libraries()
    params, evaluation = load_recipe(organism, Reinforcement), load("organisms.evaluation", Evaluation)
    training_rows, held_out = read_tasks(TASKS, "train"), read_tasks(TASKS, "held_out", evaluation.prompts)
    name, ancestors = model_name(organism, seed), load_ancestors(params.parent, seed, held_out)
    model, tokenizer = load_organism(model_name(params.parent, seed))

    examples = training_prompts(training_rows, params.steps * params.prompts, seed)
    content = {"recipe": params.model_dump(), "seed": seed, "examples": examples}
    content["parent"] = content_of(model_name(params.parent, seed))
    with resumable(name, content, "stages.organisms.reinforce") as states, atomic_folder(MODELS / name) as folder:
        saver = SaveCheckpoints(states.checkpoints, halving_steps(params.steps, params.checkpoints))
        curve = reinforce(model, tokenizer, examples, params, TrainingRun(states, seed, [saver]))
        shutil.copytree(states.checkpoints, folder / "checkpoints")
        metrics, samples = evaluate(model, tokenizer, held_out, evaluation, ancestors)
        if params.target is not None:
            metrics["target"] = check_target(params.target, metrics)
        write_organism(name, folder, model, tokenizer, TrainingResult(metrics, samples, curve))


if __name__ == "__main__":
    run_stage(main, __doc__, recipe_of_cell)
