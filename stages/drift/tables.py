"""The tables of the drift study, `data/drift/records/`."""

from __future__ import annotations

import pandas as pd

from stages.shared.tables import Tables

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
DRIFT_TABLES = Tables("the drift study", COLUMNS, lambda _: "drift-measure")
WITHOUT_INTERVAL = ("resample_baseline", "standard_error", "low", "high")


def typed(name: str, rows: list[dict]) -> pd.DataFrame:
    """Return ``rows`` as the table ``name``; what has no interval may leave its columns out."""
    table = pd.DataFrame(rows)
    absent = {column for column in WITHOUT_INTERVAL if column in COLUMNS[name]} - set(table.columns)
    return DRIFT_TABLES.typed(name, table.assign(**dict.fromkeys(sorted(absent), float("nan"))) if rows else table)
