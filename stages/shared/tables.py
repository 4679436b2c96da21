"""Tidy tables in folders: one Parquet file a table, columns and types declared once.

A Parquet file holds its digest and its own path (folder and name): reading refuses a flipped bit, and another's table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import pyarrow as pa
from pyarrow import parquet

from stages.shared.digests import BLANK, fill_digest, require_digest
from stages.shared.files import FileError, FileSource, atomic_folder, one_line


class TableError(FileError):
    """A table is missing, unreadable or of another shape; the message names the file and the fix."""


def write_table(path: Path, table: pd.DataFrame, belongs_to: str) -> None:
    """Write ``table`` as Parquet, without its index, with its digest; ``belongs_to`` is what the reader must ask for."""
    content = pa.Table.from_pandas(table, preserve_index=False)
    described = {**content.schema.metadata, b"belongs_to": belongs_to.encode(), b"digest": BLANK}
    parquet.write_table(content.replace_schema_metadata(described), path)
    fill_digest(path)


def read_table(path: Path, source: FileSource, belongs_to: str, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """Return what `write_table` wrote, or some of its columns.

    Raises ``source.error`` with its fix where the file is missing, damaged, lacks a column, or belongs to another.
    """
    if not path.is_file():
        raise source.error(f"{path} not found; {source.fix}")
    try:
        require_digest(path)
        content = parquet.read_table(path, columns=None if columns is None else list(columns))
        recorded = content.schema.metadata[b"belongs_to"].decode()
        if missing := sorted(set(columns or ()) - set(content.column_names)):
            raise KeyError(f"no column {', '.join(missing)}")
    except (OSError, ValueError, KeyError) as error:  # what pyarrow raises on damaged bytes
        raise source.error(
            f"{path} is truncated, damaged, or not {source.contents} ({one_line(error)}); {source.fix}"
        ) from error
    if recorded != belongs_to:
        raise source.error(f"{path} belongs to {recorded}, expected {belongs_to}; {source.fix}")
    return content.to_pandas()


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
            self.write_into(temporary, folder.name, tables)

    def write_into(self, folder: Path, final_name: str, tables: Mapping[str, pd.DataFrame | Sequence[Mapping]]) -> None:
        """Write tables into a ``folder`` that does not yet stand under its ``final_name``."""
        for name, rows in tables.items():
            write_table(folder / f"{name}.parquet", self.typed(name, rows), f"{final_name}/{name}")

    def require_all(self, folder: Path, tables: Mapping[str, object]) -> None:
        """Raise TableError unless exactly the declared tables are there."""
        if set(tables) != set(self.columns):
            raise TableError(f"{folder}: expected the tables {sorted(self.columns)}, found {sorted(tables)}")

    def read(self, folder: Path, name: str, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """Return the table ``name``, or some of its columns.

        Raises TableError naming the file and the stage that rebuilds it.
        """
        path = folder / f"{name}.parquet"
        source = FileSource(f"a table of {self.contents}", self.fix(folder), TableError)
        table = read_table(path, source, f"{folder.name}/{name}", columns)
        if columns is None and list(table) != list(self.columns[name]):
            raise TableError(
                f"{path} has the columns {list(table)}, expected {list(self.columns[name])}; {self.fix(folder)}"
            )
        if unlike := [
            c for c in table if str(table[c].dtype) != str(pd.api.types.pandas_dtype(self.columns[name].get(c)))
        ]:
            raise TableError(f"{path}: the columns {unlike} have other types than {name} declares; {self.fix(folder)}")
        return table

    def fix(self, folder: Path) -> str:
        """Return the sentence that says how ``folder`` is made again."""
        return f"rebuild it with `dvc repro {self.stage(folder.name)}`"
