"""Tables: exactly their columns and types, written together or not at all, read or named with the fix."""

import numpy as np
import pandas as pd
import pytest

from stages.shared.tables import TableError, Tables
from tests.support.damage import flip, rewrite_table

COLUMNS = {
    "records": {"model": "str", "layer": "int64", "value": "float64"},
    "steps": {"step": "Int64", "note": "str"},
}
TABLES = Tables("a study", COLUMNS, lambda name: f"measure@{name}")
ROWS = {"records": [{"value": 1, "layer": 2, "model": "a"}], "steps": [{"step": None, "note": ""}]}


@pytest.mark.parametrize("name", COLUMNS)
def test_columns_have_their_order_and_types_with_rows_and_without(name):
    for rows in (ROWS[name], [], pd.DataFrame(ROWS[name])):
        table = TABLES.typed(name, rows)
        assert list(table.columns) == list(COLUMNS[name]) and len(table) == len(rows)
        assert all(str(table[column].dtype) == kind for column, kind in COLUMNS[name].items())


def test_missing_and_unexpected_columns_are_named():
    with pytest.raises(TableError, match=r"records: columns \['extra', 'layer'\] are missing or unexpected"):
        TABLES.typed("records", [{"model": "a", "value": 1.0, "extra": 0}])


def test_what_is_written_is_read_and_repeats_every_byte(tmp_path):
    TABLES.write(tmp_path / "a", ROWS)
    first = {path.name: path.read_bytes() for path in (tmp_path / "a").iterdir()}
    TABLES.write(tmp_path / "a", ROWS)
    assert {path.name: path.read_bytes() for path in (tmp_path / "a").iterdir()} == first
    pd.testing.assert_frame_equal(TABLES.read(tmp_path / "a", "records"), TABLES.typed("records", ROWS["records"]))
    assert list(TABLES.read(tmp_path / "a", "records", ["value"]).columns) == ["value"]


def test_a_table_too_few_leaves_the_folder_as_it_was(tmp_path):
    TABLES.write(tmp_path / "a", ROWS)
    with pytest.raises(TableError, match=r"a: expected the tables \['records', 'steps'\], found \['records'\]"):
        TABLES.write(tmp_path / "a", {"records": []})
    assert len(TABLES.read(tmp_path / "a", "records")) == 1


def test_a_missing_and_a_damaged_table_are_named_with_the_fix(tmp_path):
    with pytest.raises(TableError, match="records.parquet not found; rebuild it with `dvc repro measure@a`"):
        TABLES.read(tmp_path / "a", "records")
    TABLES.write(tmp_path / "a", ROWS)
    path = tmp_path / "a/records.parquet"
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(
        TableError, match="records.parquet is truncated, damaged, or not a table of a study .*dvc repro measure@a"
    ):
        TABLES.read(tmp_path / "a", "records")


def test_a_flipped_bit_anywhere_is_refused(tmp_path):
    TABLES.write(tmp_path / "a", ROWS)
    path = tmp_path / "a/records.parquet"
    whole = path.read_bytes()
    for bit in np.random.default_rng(0).integers(8 * len(whole), size=300):
        path.write_bytes(flip(whole, bit))
        with pytest.raises(TableError, match=r"records.parquet.*dvc repro measure@a"):
            TABLES.read(tmp_path / "a", "records")


def test_the_table_of_another_and_one_of_other_columns_are_refused(tmp_path):
    TABLES.write(tmp_path / "a", ROWS)
    (tmp_path / "a").rename(tmp_path / "b")
    with pytest.raises(TableError, match="belongs to a/records, expected b/records; .*dvc repro measure@b"):
        TABLES.read(tmp_path / "b", "records")
    (tmp_path / "b").rename(tmp_path / "a")
    rewrite_table(tmp_path / "a/records.parquet", lambda table: table.astype({"layer": str}))
    with pytest.raises(TableError, match="columns .'layer'. have other types than records declares"):
        TABLES.read(tmp_path / "a", "records")
    rewrite_table(tmp_path / "a/records.parquet", lambda table: table.drop(columns="layer"))
    with pytest.raises(TableError, match="expected .'model', 'layer', 'value'."):
        TABLES.read(tmp_path / "a", "records")
