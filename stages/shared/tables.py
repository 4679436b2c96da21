"""Tidy tables in folders: one Parquet file a table, columns and types declared once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from stages.shared.files import atomic_folder


class TableError(ValueError):
    """A table is missing, unreadable or of another shape; the message names the file and the fix."""


class Tables(NamedTuple):
    """The tables of one kind of folder."""

    contents: str
    """What the folder holds, for messages: "a probed model"."""
    columns: Mapping[str, Mapping[str, str]]
    """Table: its columns in order, each with its pandas type."""
    stage: Callable[[str], str]
    """From the folder's name the DVC stage that writes it."""

    def typed(self, name: str, rows: pd.DataFrame | Sequence[Mapping]) -> pd.DataFrame:
        """Return ``rows`` with exactly the columns and types of the table ``name``, in their order.

        Raises TableError naming the columns that are missing or unexpected.
        """
        columns = self.columns[name]
        table = rows if isinstance(rows, pd.DataFrame) else pd.DataFrame(list(rows))
        if not len(table):
            table = table.reindex(columns=list(columns))
        if set(table.columns) != set(columns):
            raise TableError(f"{name}: columns {sorted(set(table.columns) ^ set(columns))} are missing or unexpected")
        return table[list(columns)].astype(dict(columns))

    def write(self, folder: Path, tables: Mapping[str, pd.DataFrame | Sequence[Mapping]]) -> None:
        """Write all tables, or none: the folder changes as a whole. Raises TableError where a table is missing."""
        self.require_all(folder, tables)
        with atomic_folder(folder) as temporary:
            self.write_into(temporary, tables)

    def write_into(self, folder: Path, tables: Mapping[str, pd.DataFrame | Sequence[Mapping]]) -> None:
        """Write tables into a ``folder`` that does not yet stand under its final name."""
        for name, rows in tables.items():
            self.typed(name, rows).to_parquet(folder / f"{name}.parquet", index=False)

    def require_all(self, folder: Path, tables: Mapping[str, object]) -> None:
        """Raise TableError unless exactly the declared tables are there."""
        if set(tables) != set(self.columns):
            raise TableError(f"{folder}: expected the tables {sorted(self.columns)}, found {sorted(tables)}")

    def read(self, folder: Path, name: str, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """Return the table ``name``, or some of its columns.

        Raises TableError naming the file and the stage that rebuilds it.
        """
        path = folder / f"{name}.parquet"
        if not path.is_file():
            raise TableError(f"{path} not found; {self.fix(folder)}")
        try:
            return pd.read_parquet(path, columns=None if columns is None else list(columns))
        except (OSError, ValueError, KeyError) as error:  # what pyarrow raises on damaged bytes or absent columns
            raise TableError(f"{path} is no table of {self.contents} ({error}); {self.fix(folder)}") from error

    def fix(self, folder: Path) -> str:
        """Return the sentence that says how ``folder`` is made again."""
        return f"rebuild it with `dvc repro {self.stage(folder.name)}`"
