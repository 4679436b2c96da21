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
from stages.activations.tokens import chat_date, tokenise
from stages.activations.words import require_same_words
from stages.drift.params import Drift, load_scope
from stages.drift.sample_files import SampleHeader, write_samples
from stages.drift.sampled_states import ChosenTokens, Sampling, choose_tokens, sample_model, sample_run
from stages.models.checkpoint import find_checkpoint
from stages.models.loading import load_tokenizer
from stages.models.runs import run_tokenizer
from stages.shared.cells import model_and_reference
from stages.shared.command import run_stage
from stages.shared.params import load
from stages.shared.scratch import library_versions
from stages.tasks.rows import read_tasks

SAMPLES = Path("data/drift/samples")
LIBRARIES = ("numpy", "tokenizers", "torch", "transformers")


def main(name: str, reference: str | None = None) -> None:
    params, collect = load("drift", Drift), load("collect", Collect)
    if reference is None:
        chosen = tokens_of_tasks(run_tokenizer(name), "plain", params)
        sampling = Sampling(chosen, collect.precision, collect.tokens_per_batch, params)
        states, prompt_format = sample_run(name, sampling), "plain"
    else:
        model = find_checkpoint(name)
        tokenizer = load_tokenizer(model if model.prompt_format == "chat" else find_checkpoint(reference))
        chosen = tokens_of_tasks(tokenizer, model.prompt_format, params)
        if model.prompt_format != "chat":
            require_same_words(model, tokenizer, [ids for task in chosen.values() for ids in task.tokens.ids])
        sampling = Sampling(chosen, model.precision or collect.precision, collect.tokens_per_batch, params)
        states, prompt_format = sample_model(name, reference, sampling), model.prompt_format
    header = SampleHeader(name, sampling.precision, library_versions(LIBRARIES), chat_date(prompt_format))
    tokens = {task: task_tokens.table() for task, task_tokens in chosen.items()}
    written = write_samples(SAMPLES / f"{name}.h5", header, tokens, states)
    logging.info("%s: %s", name, ", ".join(state.name for state in written))


def tokens_of_tasks(tokenizer: PreTrainedTokenizerBase, prompt_format: str, params: Drift) -> dict[str, ChosenTokens]:
    """Return the tokenised prompts of every task and the positions of each that are sampled."""
    chosen = {}
    for task in load_scope().tasks:
        rows = read_tasks([task], "held_out", params.prompts)
        texts, ids = [row["prompt"] for row in rows], [row["id"] for row in rows]
        chosen[task] = choose_tokens(tokenise(tokenizer, texts, ids, prompt_format), params)
    return chosen


if __name__ == "__main__":
    run_stage(main, __doc__, model_and_reference("study.models"))
