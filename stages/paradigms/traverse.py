"""Compare the token trajectories of a model with its reference's: python -m stages.paradigms.traverse MODEL REFERENCE."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pandas as pd

from stages.activations.store import ActivationError, read_header, read_offsets, read_site, require_comparable
from stages.geometry.signature import split_paths
from stages.paradigms.metrics import path_metrics
from stages.paradigms.params import PathParams
from stages.paradigms.path_records import measure_paths
from stages.shared.cells import model_and_reference
from stages.shared.command import run_stage
from stages.shared.files import atomic, write_json
from stages.shared.params import load
from stages.shared.study import Study, all_tasks
from stages.shared.tables import write_table
from stages.statistics.half_sampling import partitions_for, quarters

ACTIVATIONS, TABLES, METRICS = Path("data/activations"), Path("data/paths"), Path("metrics/paths")
ASK = "-S 'collect.aggregations=[last_token,all_tokens]'"


def main(model: str, reference: str) -> None:
    """Write the table of all tasks and depths, and the metrics."""
    params = load("paths", PathParams)
    rows = [row for task in all_tasks(load("study", Study)) for row in measure_task(task, model, reference, params)]
    with atomic(TABLES / f"{model}.parquet") as temporary:
        write_table(temporary, pd.DataFrame(rows), model)
    write_json(METRICS / f"{model}.json", path_metrics(rows))
    logging.info("%s against %s: %d rows", model, reference, len(rows))


def measure_task(task: str, model: str, reference: str, params: PathParams) -> list[dict]:
    """Return the rows of one task, at all depths; raises ActivationError unless all tokens of both models were collected."""
    files = [ACTIVATIONS / name / f"{task}.h5" for name in (reference, model)]
    headers = [read_header(file) for file in files]
    for header, file in zip(headers, files, strict=True):
        if "all_tokens" not in header.aggregations:
            raise ActivationError(
                f"{file} holds {', '.join(header.aggregations)}: trajectories need all_tokens; collect it: dvc exp run {ASK}"
            )
    require_comparable(*headers, files=files)
    n = min(params.prompts, len(headers[0].prompt_ids))
    parts = quarters(n, partitions_for(params.half_samples), params.seed, task)
    common = {"model": model, "reference": reference, "task": task, "site": params.site}
    layers = sorted({max(round(depth * headers[0].n_layers), 1) - 1 for depth in params.depths})
    return [
        {**common, "layer": layer, **row}
        for layer in layers
        for row in measure_paths(*(read_paths(file, params.site, layer, n) for file in files), params, parts)
    ]


def read_paths(file: Path, site: str, layer: int, prompts: int) -> list[np.ndarray]:
    """Return the paths (tokens, d) of the first ``prompts``, without special tokens and position 0, whose norm would rule."""
    offsets, mask = read_offsets(file)
    offsets = offsets[: prompts + 1]
    mask = mask[: offsets[-1]]
    values = read_site(file, "all_tokens", site, layer)[: offsets[-1]][mask]
    return split_paths(values, np.concatenate([[0], np.cumsum(mask)])[offsets])


if __name__ == "__main__":
    run_stage(main, __doc__, model_and_reference("paths.models"))
