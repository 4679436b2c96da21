"""Collect the activations of one model on the held-out prompts of every task.

Usage: python -m stages.collect MODEL REFERENCE

The prompts are tokenised with the tokenizer of REFERENCE, so that every sibling sees the same ids.
The environment variable DEVICE (cuda or cpu) chooses where; it does not change what is computed.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from stages.activations.collection import tokenise
from stages.activations.recording import record_task
from stages.models.capture import self_test, text_config
from stages.models.checkpoint import find_folder, open_checkpoint
from stages.models.loading import load_model, load_tokenizer
from stages.params.collect import Collect
from stages.params.loading import load
from stages.params.study import Study
from stages.records.files import atomic_folder, write_json
from stages.tasks.rows import read_tasks

ACTIVATIONS = Path("data/activations")
log = logging.getLogger(__name__)


def main(name: str, reference: str) -> None:
    params, tasks = load("collect", Collect), load("study", Study).tasks
    prompts = {task: read_tasks([task], "held_out", params.prompts) for task in tasks}
    checkpoint = open_checkpoint(name)
    tokenizer = load_tokenizer(find_folder(reference))
    model = load_model(checkpoint.folder, params.dtype)
    self_test(model)
    config = text_config(model)
    log.info(
        "%s: %s, %d layers, width %d, on %s",
        name,
        checkpoint.architecture,
        config.num_hidden_layers,
        config.hidden_size,
        model.device,
    )
    with atomic_folder(ACTIVATIONS / name) as folder:
        report = {}
        for task, rows in prompts.items():
            tokens = tokenise(tokenizer, [row["prompt"] for row in rows], [row["id"] for row in rows])
            report[task] = record_task(model, checkpoint, task, tokens, params, folder)
        write_json(folder / "quality.json", report)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("reference")
    arguments = parser.parse_args()
    main(arguments.model, arguments.reference)
