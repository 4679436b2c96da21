"""Follow one training run through its checkpoints: spectra of its activations, likelihood of answers, accuracy.

Usage: python -m stages.trace.follow RUN

RUN is an organism ({organism}-s{seed}) or an entry of data/registry/runs.yaml. Each finished checkpoint is kept under
.dvc/tmp/trace, so a rerun computes only what is missing. Environment: DEVICE (cpu, cuda, auto), JOBS (checkpoints at a
time on a processor), KEEP_WEIGHTS (leave downloaded weights in the Hugging Face cache).
"""

from __future__ import annotations

import logging
from pathlib import Path

from stages.activations.sequences import sequences
from stages.models.names import recipe_of
from stages.models.registry import ComputePrecision
from stages.models.run_registry import log_spaced
from stages.models.runs import is_organism, run_tokenizer, saved_checkpoints
from stages.organisms.params import Pretraining
from stages.shared.cells import run_of
from stages.shared.command import run_stage
from stages.shared.params import load
from stages.shared.study import RECIPES
from stages.tasks.documents import read_text_documents
from stages.tasks.rows import read_rows, read_tasks
from stages.trace.answers import encode
from stages.trace.checkpoint import CheckpointInputs
from stages.trace.checkpoints import checkpoint_table, follow, require_all
from stages.trace.params import Answers, Tasks, Trace
from stages.trace.tables import write

TRACES = Path("data/trace/runs")


def main(run: str) -> None:
    params = load("trace", Trace)
    precision = "float32" if is_organism(run) else load("collect.precision", ComputePrecision).root
    saved = log_spaced(saved_checkpoints(run, tokens_per_step(run)), params.checkpoints)
    inputs = read_checkpoint_inputs(run, params)
    results, failed = follow(run, saved, inputs, precision, params)
    if results:
        table = checkpoint_table(saved, results, failed, inputs.sequences.digest())
        write(TRACES / run, table, {step: result for step, (_, result) in results.items()})
    require_all(run, failed)
    logging.info("%s: %d checkpoints on %d tokens", run, len(results), inputs.sequences.ids.size)


def tokens_per_step(run: str) -> int | None:
    """Return the tokens per step of an organism's pretraining, padding included; None for other recipes, where none are counted."""
    if not is_organism(run) or recipe_of(run) != RECIPES[0]:
        return None
    recipe = load("organisms.base", Pretraining)
    return recipe.batch * recipe.row_tokens


def read_checkpoint_inputs(run: str, params: Trace) -> CheckpointInputs:
    """Return the text, answers and questions that every checkpoint of the run is given."""
    tokenizer = run_tokenizer(run)
    tasks = load("study.tasks", Tasks).root if params.accuracy else []
    return CheckpointInputs(
        tokenizer,
        sequences(tokenizer, read_text_documents(params.text), params.sequences, params.length),
        {task: encode(tokenizer, read_rows(task)) for task in load("ngrams.answers", Answers).root},
        {task: read_tasks([task], "held_out", params.accuracy.prompts) for task in tasks},
    )


if __name__ == "__main__":
    run_stage(main, __doc__, run_of)
