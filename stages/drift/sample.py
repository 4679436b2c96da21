"""Sample tokens of every prompt at every layer of one model, on its way there, and before any training.

Usage: python -m stages.drift.sample MODEL REFERENCE, or python -m stages.drift.sample RUN

The prompts are tokenised with the tokenizer of REFERENCE, so that all siblings give the same tokens (a model whose
registry entry says `prompt_format: chat` has its own). Checkpoints are those of an organism, or of RUN, an entry of
data/registry/runs.yaml. A model that is its own reference, and a run, are sampled untrained too. The environment
variable DEVICE (cpu, cuda, auto) chooses where.
"""

from __future__ import annotations

import logging
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from stages.activations.params import Collect
from stages.activations.tokens import tokenise
from stages.drift.params import Drift, load_scope
from stages.drift.samples import Header, write_samples
from stages.drift.sampling import Material, material, sample_model, sample_run
from stages.models.checkpoint import find_checkpoint
from stages.models.loading import load_tokenizer
from stages.models.runs import run_tokenizer
from stages.shared.command import run_stage
from stages.shared.params import load
from stages.shared.scratch import library_versions
from stages.tasks.rows import read_tasks

SAMPLES = Path("data/drift/samples")
LIBRARIES = ("numpy", "tokenizers", "torch", "transformers")


def main(name: str, reference: str | None = None) -> None:
    params, collect = load("drift", Drift), load("collect", Collect)
    if reference is None:
        precision, shown = collect.precision, show(run_tokenizer(name), "plain", params)
        states = sample_run(name, shown, precision, collect.tokens_per_batch, params)
    else:
        found = find_checkpoint(name)
        chat = found.prompt_format == "chat"
        tokenizer = load_tokenizer(found if chat else find_checkpoint(reference))
        precision, shown = found.precision or collect.precision, show(tokenizer, found.prompt_format, params)
        states = sample_model(name, reference, shown, precision, collect.tokens_per_batch, params)
    header = Header(name, precision, library_versions(LIBRARIES))
    rows = {task: of_task.rows() for task, of_task in shown.items()}
    written = write_samples(SAMPLES / f"{name}.h5", header, rows, states)
    logging.info("%s: %s", name, ", ".join(state.name for state in written))


def show(tokenizer: PreTrainedTokenizerBase, prompt_format: str, params: Drift) -> dict[str, Material]:
    """The prompts of every task and the tokens of each that are kept."""
    found = {}
    for task in load_scope().tasks:
        rows = read_tasks([task], "held_out", params.prompts)
        texts, ids = [row["prompt"] for row in rows], [row["id"] for row in rows]
        found[task] = material(tokenise(tokenizer, texts, ids, prompt_format), params)
    return found


if __name__ == "__main__":
    run_stage(main, __doc__)
