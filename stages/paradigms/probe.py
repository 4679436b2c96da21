"""Probe one model itself: its sensitivity on held-out prompts, and the update of its weights from its reference's.

Usage: python -m stages.paradigms.probe MODEL REFERENCE

The prompts are tokenised as for `collect`. Weights are read in float32 whatever `collect.precision` says: derivatives
need it. A model whose registry entry asks for quantised weights gets records that say why they are missing.
"""

from __future__ import annotations

import logging
from pathlib import Path

from stages.models.checkpoint import open_checkpoint
from stages.models.loading import load_tokenizer
from stages.paradigms.metrics import probe_metrics
from stages.paradigms.params import ProbeParams
from stages.paradigms.probe_records import probe_sensitivity, probe_weights
from stages.paradigms.prompt_tokens import fed_tokens
from stages.paradigms.tables import PROBE_TABLES
from stages.shared.cells import model_and_reference
from stages.shared.command import run_stage
from stages.shared.files import write_json
from stages.shared.params import load
from stages.shared.study import Study, all_tasks

PROBES, METRICS = Path("data/probes"), Path("metrics/probe")


def main(model: str, reference: str) -> None:
    """Write the tables and metrics of ``model``, probed against its reference."""
    params, tasks = load("probe", ProbeParams), all_tasks(load("study", Study))
    checkpoint, base = open_checkpoint(model), open_checkpoint(reference)
    # Every sibling sees the same ids; a model in its own chat template has its own.
    tokenizer = load_tokenizer(checkpoint if checkpoint.prompt_format == "chat" else base)
    tokens = fed_tokens(checkpoint, tokenizer, tasks, params.prompts, checkpoint.prompt_format)
    values, records = probe_sensitivity(checkpoint, base, tokens, params)
    weights, displacement = probe_weights(checkpoint, base, params)
    PROBE_TABLES.write(PROBES / model, {"sensitivity": values, "records": records, "weights": weights})
    write_json(METRICS / f"{model}.json", probe_metrics(records, weights, displacement, params))
    logging.info("%s against %s: %d numbers of prompts, %d of tensors", model, reference, len(values), len(weights))


if __name__ == "__main__":
    run_stage(main, __doc__, model_and_reference("study.models"))
