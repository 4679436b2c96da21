"""The tables of a traced run, `data/trace/runs/{run}/`: one row for each checkpoint and what was measured of it."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from stages.models.names import stage_of
from stages.shared.files import FileSource, atomic_folder
from stages.shared.hdf5_files import add_dataset, read_hdf5, write_hdf5
from stages.shared.tables import TableError, Tables

# Columns and types of each table, in order. ``log_likelihood``: nats, summed over the answer's tokens; ``greedy``:
# each of them is the likeliest next token.
COLUMNS = {
    "checkpoints": {
        "step": "int64", "tokens": "Int64", "flops": "float64", "parameters": "Int64", "revision": "str",
        "resolved_revision": "str", "weight_hash": "str", "token_hash": "str",
        # the step of an earlier checkpoint with the same weights; why the checkpoint has no other rows
        "same_as": "Int64", "missing": "str",
    },
    "records": {
        "step": "int64", "site": "str", "layer": "int64", "level": "str", "measure": "str", "variant": "str",
        "value": "float64", "n": "int64", **dict.fromkeys(("null", "standard_error", "low", "high"), "float64"), "missing": "str",
    },
    # (T_H - T_H') / 2 of balanced complementary halves of the blocks: their root mean square is the standard error
    "deviations": {
        "step": "int64", "site": "str", "layer": "int64", "level": "str", "measure": "str", "variant": "str",
        "half": "int64", "value": "float64",
    },
    "rarefaction": {
        "step": "int64", "site": "str", "layer": "int64", "level": "str", "measure": "str", "variant": "str",
        "n": "int64", "value": "float64",
    },
    "answers": {"step": "int64", "task": "str", "id": "str", "log_likelihood": "float64", "tokens": "int64", "greedy": "bool"},
    "accuracy": {"step": "int64", "task": "str", "accuracy": "float64", "standard_error": "float64", "prompts": "int64"},
}  # fmt: skip
PER_CHECKPOINT = tuple(name for name in COLUMNS if name != "checkpoints")
TRACE_TABLES = Tables("a traced run", COLUMNS, lambda run: stage_of("trace-follow", run, "run"))
# ``{step}/{level}/{site}/{layer}``: eigenvalues of the covariance (rank,), descending, float64; attribute n.
SPECTRA = "spectra.h5"


class CheckpointResult(NamedTuple):
    """Everything that is measured of one checkpoint."""

    tables: dict[str, pd.DataFrame]
    """The tables PER_CHECKPOINT, without the column step; fewer while others are still to be measured."""
    spectra: dict[tuple[str, str, int], tuple[np.ndarray, int]]
    """Eigenvalues and number of rows, by level, site and layer."""
    weight_hash: str
    parameters: int


def write(folder: Path, checkpoints: pd.DataFrame, results: dict[int, CheckpointResult]) -> None:
    """Write all tables and spectra of a run, or none: the folder changes as a whole. ``results`` are by step."""
    with atomic_folder(folder) as temporary:
        tables = {"checkpoints": checkpoints}
        for name in PER_CHECKPOINT:
            parts = {step: result.tables[name] for step, result in results.items()}
            rows = [part.assign(step=step) for step, part in parts.items() if len(part)]
            tables[name] = pd.concat(rows, ignore_index=True) if rows else pd.DataFrame()
        TRACE_TABLES.write_into(temporary, folder.name, tables)
        with write_hdf5(temporary / SPECTRA) as file:
            file.attrs["run"] = folder.name
            for step, result in results.items():
                for key, (values, n) in result.spectra.items():
                    name = "/".join(str(part) for part in (step, *key))
                    add_dataset(file, name, values).attrs["n"] = n


def read_spectra(folder: Path, level: str, site: str) -> pd.DataFrame:
    """Return the eigenvalues of one level and site: columns step, layer, rank, eigenvalue, n.

    Raises TableError naming the file and the stage that rebuilds it.
    """
    path = folder / SPECTRA
    fix = TRACE_TABLES.fix(folder)
    parts = []
    with read_hdf5(path, FileSource(f"the spectra of {level}, {site}", fix, TableError)) as file:
        if file.attrs["run"] != folder.name:
            raise TableError(f"{path} holds the spectra of {file.attrs['run']}, not of {folder.name}; {fix}")
        for step, group in file.items():
            for layer, dataset in group[f"{level}/{site}"].items():
                values = dataset[()]
                if not np.isfinite(values).all():
                    raise TableError(f"{path}: {dataset.name} has eigenvalues that are not finite; {fix}")
                ranks = np.arange(1, len(values) + 1)
                common = {"step": int(step), "layer": int(layer), "n": int(dataset.attrs["n"])}
                parts.append(pd.DataFrame({**common, "rank": ranks, "eigenvalue": values}))
    return pd.concat(parts, ignore_index=True)
