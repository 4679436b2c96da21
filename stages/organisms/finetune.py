"""Fine-tune a family's base or SFT model, to the end or until it has moved as far as a sibling.

Usage: python -m stages.organisms.finetune ORGANISM SEED
"""

from __future__ import annotations

import shutil

from stages.organisms.evaluation import displacement, graded_samples, kl_divergence
from stages.organisms.family import (
    METRICS,
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
from stages.organisms.finetuning import finetune, own_examples, worked_examples
from stages.organisms.matching import StopAtDistance
from stages.organisms.params import Evaluation, Finetuning, load_recipe
from stages.organisms.resumption import resumable
from stages.organisms.trainer import SaveCheckpoints, TrainingRun, halving_steps
from stages.organisms.training_records import read_distance
from stages.shared.cells import recipe_of_cell
from stages.shared.command import run_stage
from stages.shared.files import atomic_folder
from stages.shared.params import load
from stages.tasks.rows import read_tasks


def main(organism: str, seed: int) -> None:
    quiet_libraries()
    params, evaluation = load_recipe(organism, Finetuning), load("organisms.evaluation", Evaluation)
    training_rows, held_out = read_tasks(TASKS, "train"), read_tasks(TASKS, "held_out", evaluation.prompts)
    name, ancestors = model_name(organism, seed), load_ancestors(params.parent, seed, held_out)
    model, tokenizer = load_organism(model_name(params.parent, seed))
    start = ancestors.start

    def kl_from_start(moved):
        samples = graded_samples(moved, tokenizer, held_out, evaluation, limit=evaluation.kl_prompts)
        return kl_divergence(moved, start, tokenizer, samples).value

    distances = {"displacement": lambda moved: displacement(moved, start), "kl": kl_from_start}
    stop, quantity, target = None, params.stop and params.stop.by, None
    if params.stop is not None:
        target = read_distance(METRICS / f"{model_name(params.stop.like, seed)}.json", quantity, params.parent)
        stop = StopAtDistance(distances[quantity], target, params.stop.every)

    if params.style == "own":
        examples = own_examples(start, tokenizer, training_rows, params, evaluation.new_tokens, seed)
    else:
        examples = worked_examples(training_rows, params.style, params.steps * params.batch, seed)

    content = {"recipe": params.model_dump(), "evaluation": evaluation.model_dump(), "seed": seed, "target": target}
    content |= {"parent": content_of(model_name(params.parent, seed)), "examples": examples, "held_out": held_out}
    with resumable(name, content, "stages.organisms.finetune") as states, atomic_folder(MODELS / name) as folder:
        saver = SaveCheckpoints(states.checkpoints, halving_steps(params.steps, params.checkpoints))
        run = TrainingRun(states, seed, [stop, saver] if stop else [saver])
        curve = finetune(model, tokenizer, examples, params, run)
        shutil.copytree(states.checkpoints, folder / "checkpoints")
        metrics, samples = evaluate(model, tokenizer, held_out, evaluation, ancestors)
        if stop is not None:
            metrics["matching"] = stop.summary(quantity)
        if params.target is not None:
            metrics["target"] = check_target(params.target, metrics)
        write_organism(name, folder, model, tokenizer, TrainingResult(metrics, samples, curve))


if __name__ == "__main__":
    run_stage(main, __doc__, recipe_of_cell)
