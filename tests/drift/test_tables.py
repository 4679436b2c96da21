"""The tables of the drift study: exactly their columns and types, written together or not at all."""

import pandas as pd
import pytest

from stages.drift.tables import COLUMNS, DRIFT_TABLES, typed
from stages.shared.tables import TableError

OPTIONAL = {"resample_baseline", "standard_error", "low", "high"}
EXAMPLES = {"str": "a", "int64": 1, "float64": 0.5}


def row(name, **changes):
    return {column: EXAMPLES[kind] for column, kind in COLUMNS[name].items()} | changes


def tables(**changes):
    return {name: typed(name, [row(name)]) for name in COLUMNS} | changes


@pytest.mark.parametrize("name", COLUMNS)
def test_columns_have_their_order_and_types_with_rows_and_without(name):
    turned = dict(reversed(row(name).items()))
    for rows in ([turned, turned], []):
        found = typed(name, rows)
        assert list(found.columns) == list(COLUMNS[name]) and len(found) == len(rows)
        for column, kind in COLUMNS[name].items():
            assert pd.api.types.is_string_dtype(found[column]) if kind == "str" else found[column].dtype == kind


def test_what_has_no_interval_is_empty_and_not_0():
    bare = {column: value for column, value in row("records").items() if column not in OPTIONAL}
    mixed = typed("records", [bare, row("records")])
    for column in OPTIONAL:
        assert mixed[column].isna().tolist() == [True, False]
        assert typed("records", [bare])[column].isna().all()


@pytest.mark.parametrize("name", COLUMNS)
def test_a_missing_and_an_unexpected_column_are_named(name):
    with pytest.raises(TableError, match=rf"{name}: columns \['surplus'\] are missing or unexpected"):
        typed(name, [row(name, surplus=1)])
    lacking = row(name)
    del lacking["task"]
    with pytest.raises(TableError, match=rf"{name}: columns \['task'\]"):
        typed(name, [lacking])


def test_what_is_written_is_read_and_repeats_every_byte(tmp_path):
    folder = tmp_path / "records"
    written = tables()
    DRIFT_TABLES.write(folder, written)
    first = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert set(first) == {f"{name}.parquet" for name in COLUMNS}
    for name in COLUMNS:
        pd.testing.assert_frame_equal(DRIFT_TABLES.read(folder, name), written[name], check_dtype=False)
    DRIFT_TABLES.write(folder, tables())
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == first


def test_a_table_that_cannot_be_written_leaves_all_of_the_old_ones(tmp_path):
    folder = tmp_path / "records"
    DRIFT_TABLES.write(folder, tables())
    first = {path.name: path.read_bytes() for path in folder.iterdir()}
    changed = tables(records=typed("records", [row("records", value=9.0)]))
    with pytest.raises(TypeError):
        DRIFT_TABLES.write(folder, changed | {"profile": None})
    with pytest.raises(TableError, match="expected the tables .*found"):
        DRIFT_TABLES.write(folder, {"records": changed["records"]})
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == first
    assert list(tmp_path.iterdir()) == [folder]


def test_a_missing_and_a_damaged_table_are_named_with_the_fix(tmp_path):
    with pytest.raises(TableError, match="profile.parquet not found; rebuild it with `dvc repro drift-measure`"):
        DRIFT_TABLES.read(tmp_path, "profile")
    DRIFT_TABLES.write(tmp_path / "records", tables())
    path = tmp_path / "records/profile.parquet"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(
        TableError,
        match="profile.parquet is truncated, damaged, or not a table of the drift study .*dvc repro drift-measure",
    ):
        DRIFT_TABLES.read(tmp_path / "records", "profile")
