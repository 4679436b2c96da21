"""The tables of a probed model, `data/probes/{model}/`: sensitivity of each prompt, its means, and the weight update."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from stages.models.names import stage_of
from stages.records.files import atomic_folder
from stages.records.table import RecordError

COLUMNS = {
    "sensitivity": {
        **dict.fromkeys(("model", "reference", "task", "prompt"), "str"), "layer": "int64",
        **dict.fromkeys(("measure", "variant"), "str"), "value": "float64",
        # what a reader must know of the value
        "note": "str",
    },
    "records": {
        **dict.fromkeys(("model", "reference", "task", "site"), "str"), "layer": "int64",
        **dict.fromkeys(("measure", "variant"), "str"), "value": "float64", "n": "int64",
        **dict.fromkeys(("null", "standard_error", "low", "high"), "float64"),
        # why the value is missing; why there is no null, and what else a reader must know
        **dict.fromkeys(("missing", "note"), "str"),
    },
    "weights": {
        **dict.fromkeys(("model", "reference", "tensor", "kind"), "str"), "layer": "int64",
        "shape": "str", **dict.fromkeys(("measure", "variant"), "str"),
        **dict.fromkeys(("value", "null"), "float64"), **dict.fromkeys(("missing", "note"), "str"),
    },
}  # fmt: skip
"""Columns and types of each table, in order. A tensor outside the blocks has layer -1."""


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


def empty(name: str) -> pd.DataFrame:
    """The table ``name`` without rows."""
    return typed(name, pd.DataFrame(columns=list(COLUMNS[name])))


def read(folder: Path, name: str) -> pd.DataFrame:
    """The table ``name`` of one model; raises RecordError naming the file and the stage that rebuilds it."""
    path = folder / f"{name}.parquet"
    fix = f"rebuild it with `dvc repro {stage_of('probe', folder.name)}`"
    if not path.is_file():
        raise RecordError(f"{path} not found; {fix}")
    try:
        return pd.read_parquet(path)
    except (OSError, ValueError) as error:  # what pyarrow raises on damaged bytes
        raise RecordError(f"{path} is no table of a probed model ({error}); {fix}") from error
