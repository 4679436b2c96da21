"""Train the base of a family from scratch.

Usage: python -m stages.organisms.pretrain SEED
"""

from __future__ import annotations

import shutil

from stages.organisms.architecture import build_model
from stages.organisms.corpus import load_worlds, pretraining_documents, tokenizer_texts, world_words
from stages.organisms.evaluation import next_word_accuracy
from stages.organisms.family import (
    MODELS,
    TASKS,
    TrainingResult,
    evaluate,
    model_name,
    quiet_libraries,
    write_organism,
)
from stages.organisms.params import Architecture, Budget, Evaluation, Pretraining
from stages.organisms.pretraining import pretrain
from stages.organisms.resumption import resumable
from stages.organisms.tokenizer import build_tokenizer
from stages.shared.cells import recipe_of_cell
from stages.shared.command import run_stage
from stages.shared.files import atomic_folder
from stages.shared.params import load
from stages.tasks.rows import read_rows, read_tasks


def main(seed: int) -> None:
    quiet_libraries()
    params, budget = load("organisms.base", Pretraining), load("organisms.budget", Budget)
    architecture, evaluation = load("organisms.architecture", Architecture), load("organisms.evaluation", Evaluation)
    held_out = read_tasks(TASKS, "held_out", evaluation.prompts)

    world, people = load_worlds()
    tokenizer = build_tokenizer(tokenizer_texts(params.mix), world_words(world, people), architecture.bpe_vocabulary)
    model = build_model(architecture, tokenizer, seed)
    texts = pretraining_documents(world, people, params.mix, budget.scaled(params.documents), seed)
    name = model_name("base", seed)
    content = {"recipe": params.model_dump(), "architecture": architecture.model_dump(), "seed": seed, "texts": texts}
    content["tokenizer"] = tokenizer.backend_tokenizer.to_str()
    with resumable(name, content, "stages.organisms.pretrain") as states, atomic_folder(MODELS / name) as folder:
        curve = pretrain(model, tokenizer, texts, params, states, seed)
        shutil.copytree(states.checkpoints, folder / "checkpoints")
        metrics, samples = evaluate(model, tokenizer, held_out, evaluation)
        metrics["worlds"] = next_word_accuracy(model, tokenizer, read_rows("ontology") + read_rows("facts"))
        write_organism(name, folder, model, tokenizer, TrainingResult(metrics, samples, curve))


if __name__ == "__main__":
    run_stage(main, __doc__, recipe_of_cell)
