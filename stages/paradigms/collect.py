"""Collect the activations of one model on the held-out prompts of every task.

Usage: python -m stages.paradigms.collect MODEL REFERENCE

The prompts are tokenised with the tokenizer of REFERENCE, so that every sibling sees the same ids; a model whose
registry entry says `prompt_format: chat` gets them in its own chat template instead. Where an aggregation reads
inside the reasoning, the row's worked solution follows the prompt, whatever the model would have written. The work
is done in shards, so that a run that was killed goes on where it was; `stages/paradigms/scheduler.py` says how to
spread them.
The environment variable DEVICE (cpu, cuda, auto) chooses where; it does not change what is computed.
"""

from __future__ import annotations

from pathlib import Path

from stages.activations.params import Collect
from stages.activations.words import require_same_words
from stages.models.checkpoint import find_checkpoint, open_checkpoint
from stages.models.loading import load_tokenizer
from stages.paradigms.activation_files import record_task
from stages.paradigms.prompt_tokens import tokenise_rows
from stages.paradigms.reasoning import continuations
from stages.paradigms.scheduler import Work, compute_missing, device_kind
from stages.paradigms.shards import plan_shards
from stages.shared.cells import model_and_reference
from stages.shared.command import run_stage
from stages.shared.files import atomic_folder, write_json
from stages.shared.params import load
from stages.shared.study import Study, all_tasks
from stages.tasks.rows import read_tasks

ACTIVATIONS = Path("data/activations")


def main(name: str, reference: str) -> None:
    """Compute the shards of every task that are missing; write one checked activation file a task, and its report."""
    work = plan_work(name, reference)
    compute_missing(work)
    with atomic_folder(ACTIVATIONS / name) as folder:
        report = {
            plan.task: record_task(work.checkpoint, work.precision, plan, work.params, folder) for plan in work.plans
        }
        write_json(folder / "quality.json", report)


def plan_work(name: str, reference: str) -> Work:
    """Return the work of `main`; raises every error that needs no forward pass: of params, tasks, models and tokens."""
    params, tasks = load("collect", Collect), all_tasks(load("study", Study))
    prompts = {task: read_tasks([task], "held_out", params.prompts) for task in tasks}
    checkpoint = open_checkpoint(name)
    chat = checkpoint.prompt_format == "chat"
    tokenizer = load_tokenizer(checkpoint if chat else find_checkpoint(reference))
    precision, kind = checkpoint.precision or params.precision, device_kind()
    plans = []
    for task, rows in prompts.items():
        tokens = tokenise_rows(rows, tokenizer, checkpoint.prompt_format, continuations(task, rows, params))
        if not chat:
            require_same_words(checkpoint, tokenizer, tokens.ids)
        plans.append(plan_shards(checkpoint, precision, task, tokens, params, kind))
    return Work(checkpoint, precision, kind, plans, params)


if __name__ == "__main__":
    run_stage(main, __doc__, model_and_reference("study.models"))
