"""The tables of the concepts study: `data/concepts/{words/MODEL, dictionaries, records}/`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from stages.records.files import atomic_folder
from stages.records.table import RecordError

_DICTIONARY = {"variant": "str", "model": "str", "noise": "float64", "seed": "int64"}
_EFFECTS = dict.fromkeys(
    ("on_target", "effect_size", "off_target", "sibling_contrast", "success", "success_before", "ratio_kl", "all_kl"), "float64"
)  # fmt: skip
COLUMNS: dict[str, dict[str, str]] = {
    "interventions": {"model": "str", "method": "str", "kind": "str", "strength": "float64", **_EFFECTS},
    "quality": {**_DICTIONARY, "on": "str", "measure": "str", "kind": "str", "value": "float64"},
    "steering": {**_DICTIONARY, "chosen": "str", "level": "str", "kind": "str", "strength": "float64", **_EFFECTS},
    "gate": {
        **dict.fromkeys(("model", "state", "metric", "null", "kind"), "str"), "level": "int64", "words": "int64",
        **dict.fromkeys(("members", "others", "siblings", "excess", "angle", "shuffled", "p"), "float64"), "passes": "bool",
    },
    "pairs": {
        **dict.fromkeys(("model", "state", "metric", "null", "lower", "upper", "relation"), "str"),
        "ratio": "float64", "angle": "float64",
    },
    "contexts": {**dict.fromkeys(("model", "state", "point", "null", "kind"), "str"), "auroc": "float64", "siblings": "float64"},
    "siblings": {**dict.fromkeys(("model", "state", "kind"), "str"), "corners": "int64", "edge_variation": "float64",
                 "cosine": "float64", "cosine_sd": "float64", "rank_share": "float64", "dimensions": "int64"},
    "shared": {**dict.fromkeys(("model", "reference", "place", "kind"), "str"), "cosine": "float64", "other_kinds": "float64"},
    "scene": {**dict.fromkeys(("model", "state", "kind", "word"), "str"), "held_out": "bool", "corner": "bool",
              "x": "float64", "y": "float64"},
    "features": {**dict.fromkeys(("one", "other", "level"), "str"), "one_seed": "int64", "other_seed": "int64",
                 "cosine": "float64", "chance": "float64"},
    "comparisons": {**dict.fromkeys(("comparison", "more", "less", "measure"), "str"), "pairs": "int64",
                    **dict.fromkeys(("value", "baseline", "difference", "low", "high", "p", "p_holm"), "float64")},
}  # fmt: skip
"""Columns and types of each table, in order."""
FIX = "rebuild it with `dvc repro concepts`, or fetch it with `dvc pull`"


def typed(name: str, rows: Sequence[Mapping]) -> pd.DataFrame:
    """``rows`` with exactly the columns and types of the table ``name``, in an order of their own."""
    columns = COLUMNS[name]
    table = pd.DataFrame(list(rows), columns=None if rows else list(columns))
    if set(table.columns) != set(columns):
        raise RecordError(f"{name}: columns {sorted(set(table.columns) ^ set(columns))} are missing or unexpected")
    keys = [column for column, kind in columns.items() if kind in ("str", "int64")]
    keys += [column for column in ("noise", "strength") if column in columns]
    return table[list(columns)].astype(columns).sort_values(keys, kind="stable", ignore_index=True)


def write(folder: Path, tables: Mapping[str, Sequence[Mapping]]) -> None:
    """Write all tables, or none: the folder changes as a whole."""
    with atomic_folder(folder) as temporary:
        for name, rows in tables.items():
            put(temporary, name, rows)


def put(folder: Path, name: str, rows: Sequence[Mapping]) -> None:
    """Write one table into a folder that is not yet there under its final name."""
    typed(name, rows).to_parquet(folder / f"{name}.parquet", index=False)


def read(folder: Path, name: str) -> pd.DataFrame:
    """The table ``name``; raises RecordError naming the file and the stage that rebuilds it."""
    path = folder / f"{name}.parquet"
    if not path.is_file():
        raise RecordError(f"{path} not found; {FIX}")
    try:
        return pd.read_parquet(path)
    except (OSError, ValueError) as error:  # what pyarrow raises on damaged bytes
        raise RecordError(f"{path} is no table of the concepts study ({error}); {FIX}") from error
