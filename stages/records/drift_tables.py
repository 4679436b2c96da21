"""The tables of the drift study, `data/drift/records/`."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from stages.records.files import atomic_folder
from stages.records.table import RecordError

_PLACE = {
    # layers: two points of one model; models: one point of a model and of its reference; checkpoints: one point of a
    # model at two states; rotated, noisy: one point of a model and what was made of it
    **dict.fromkeys(("kind", "model", "other_model", "state", "other_state", "task"), "str"),
    "point": "int64", "other_point": "int64",
}  # fmt: skip
COLUMNS = {
    "records": {
        **_PLACE, **dict.fromkeys(("basis", "tokens", "measure"), "str"), "value": "float64", "n": "int64",
        # mean of W2 between disjoint halves of the same clouds, of w2 alone; half as many rows
        "resample_baseline": "float64",
        **dict.fromkeys(("standard_error", "low", "high"), "float64"), "missing": "str",
    },
    # (T_H - T_H') / 2 of balanced complementary halves of the prompts, of content tokens in the headline's basis
    "deviations": {**_PLACE, "measure": "str", "half": "int64", "value": "float64"},
    # of one cloud in residual space
    "profile": {
        **dict.fromkeys(("model", "state", "task"), "str"), "point": "int64",
        **dict.fromkeys(("tokens", "measure"), "str"), "value": "float64", "n": "int64",
    },
    "profile_deviations": {
        **dict.fromkeys(("model", "state", "task"), "str"), "point": "int64", "measure": "str", "half": "int64", "value": "float64",
    },
}  # fmt: skip
"""Columns and types of each table, in order. A point counts from the embedding (0) to the final norm (layers + 1)."""
FIX = "rebuild it with `dvc repro drift`"


def write(folder: Path, tables: dict[str, pd.DataFrame]) -> None:
    """Write all ``tables``, typed, or none: the folder changes as a whole."""
    if set(tables) != set(COLUMNS):
        raise RecordError(f"{folder}: expected the tables {sorted(COLUMNS)}, found {sorted(tables)}")
    with atomic_folder(folder) as temporary:
        for name, table in tables.items():
            table.to_parquet(temporary / f"{name}.parquet", index=False)


def typed(name: str, rows: list[dict]) -> pd.DataFrame:
    """``rows`` with exactly the columns and types of the table ``name``."""
    columns = COLUMNS[name]
    table = pd.DataFrame(rows, columns=None if rows else list(columns))
    absent = {"resample_baseline", "standard_error", "low", "high"} - set(table.columns)
    table = table.assign(**{column: float("nan") for column in absent if column in columns})
    if set(table.columns) != set(columns):
        raise RecordError(f"{name}: columns {sorted(set(table.columns) ^ set(columns))} are missing or unexpected")
    return table[list(columns)].astype(columns)


def read(folder: Path, name: str) -> pd.DataFrame:
    """The table ``name``; raises RecordError naming the file and the stage that rebuilds it."""
    path = folder / f"{name}.parquet"
    if not path.is_file():
        raise RecordError(f"{path} not found; {FIX}")
    try:
        return pd.read_parquet(path)
    except (OSError, ValueError) as error:  # what pyarrow raises on damaged bytes
        raise RecordError(f"{path} is no table of the drift study ({error}); {FIX}") from error
