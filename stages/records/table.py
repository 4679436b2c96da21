"""The tables of one model, `data/records/{model}/`: records, half-sample replicates and spectra."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from stages.models.names import stage_of
from stages.records.files import atomic_folder

COLUMNS = {
    "records": {
        **dict.fromkeys(("model", "reference", "task", "site"), "str"), "layer": "int64",
        **dict.fromkeys(("aggregation", "measure", "variant"), "str"), "value": "float64", "n": "int64",
        **dict.fromkeys(("null", "resample_baseline", "ceiling", "index"), "float64"),
        # of the value, and of the index
        **dict.fromkeys(("standard_error", "low", "high", "index_standard_error", "index_low", "index_high"), "float64"),
        # why the value is missing; what a reader must know of a value that is there
        **dict.fromkeys(("missing", "note"), "str"),
    },
    "replicates": {
        **dict.fromkeys(("task", "site"), "str"), "layer": "int64",
        **dict.fromkeys(("aggregation", "measure", "variant", "quantity"), "str"), "replicate": "int64", "value": "float64",
    },
    "spectra": {
        **dict.fromkeys(("task", "site"), "str"), "layer": "int64", **dict.fromkeys(("aggregation", "variant"), "str"),
        "rank": "int64", "eigenvalue": "float64", "noise": "float64",
    },
}  # fmt: skip
"""Columns and types of each table, in order."""


class RecordError(ValueError):
    """A table is missing, unreadable or of another shape; the message names the file and the fix."""


def write(folder: Path, tables: dict[str, pd.DataFrame]) -> None:
    """Write all tables of a model, or none: the folder changes as a whole."""
    if set(tables) != set(COLUMNS):
        raise RecordError(f"{folder}: expected the tables {sorted(COLUMNS)}, found {sorted(tables)}")
    with atomic_folder(folder) as temporary:
        for name, table in tables.items():
            typed(name, table).to_parquet(temporary / f"{name}.parquet", index=False)


def typed(name: str, table: pd.DataFrame) -> pd.DataFrame:
    """``table`` with exactly the columns and types of the table ``name``."""
    columns = COLUMNS[name]
    if set(table.columns) != set(columns):
        raise RecordError(f"{name}: columns {sorted(set(table.columns) ^ set(columns))} are missing or unexpected")
    return table[list(columns)].astype(columns)


def read(folder: Path, name: str, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """The table ``name`` of one model; raises RecordError naming the file and the stage that rebuilds it."""
    path = folder / f"{name}.parquet"
    fix = f"rebuild it with `dvc repro {stage_of('measure', folder.name)}`"
    if not path.is_file():
        raise RecordError(f"{path} not found; {fix}")
    try:
        return pd.read_parquet(path, columns=None if columns is None else list(columns))
    except (OSError, ValueError, KeyError) as error:  # what pyarrow raises on damaged bytes or absent columns
        raise RecordError(f"{path} is no table of records ({error}); {fix}") from error
