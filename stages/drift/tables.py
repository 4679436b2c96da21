"""The tables of the drift study, `data/drift/records/`: their columns, types and meaning.

`point` is the depth of a cloud in the residual stream: 0 the embedding, l + 1 after block l, layers + 1 after the
final norm. `kind` says what is compared: `layers`, two depths of one model; `models`, one depth of a model and of its
reference; `checkpoints`, one depth of a model in two states; `rotated` and `noisy`, one depth of a model and what was
made of it by a random rotation or by noise.
"""

from __future__ import annotations

import pandas as pd

from stages.shared.tables import Tables

_COMPARISON = {
    **dict.fromkeys(("kind", "model", "other_model", "state", "other_state", "task"), "str"),
    "point": "int64",
    "other_point": "int64",
}
_CLOUD = {**dict.fromkeys(("model", "state", "task"), "str"), "point": "int64"}
# Columns and types of each table, in order.
COLUMNS = {
    # distances between two clouds
    "records": {
        **_COMPARISON,
        **dict.fromkeys(("basis", "tokens", "measure"), "str"),
        "value": "float64",
        "n": "int64",
        # mean of W2 between disjoint halves of the same clouds, of w2 alone; half as many rows
        "resample_baseline": "float64",
        **dict.fromkeys(("standard_error", "low", "high"), "float64"),
        "missing": "str",
    },
    # (T_H - T_H') / 2 of balanced complementary halves of the prompts, of content tokens in the headline's basis
    "deviations": {**_COMPARISON, "measure": "str", "half": "int64", "value": "float64"},
    # shape and size of one cloud in residual space
    "profile": {**_CLOUD, **dict.fromkeys(("tokens", "measure"), "str"), "value": "float64", "n": "int64"},
    "profile_deviations": {**_CLOUD, "measure": "str", "half": "int64", "value": "float64"},
}
DRIFT_TABLES = Tables("the drift study", COLUMNS, lambda _: "drift-measure")
# Columns that rows without an interval may leave out.
INTERVAL_COLUMNS = ("resample_baseline", "standard_error", "low", "high")


def typed(name: str, rows: list[dict]) -> pd.DataFrame:
    """Return ``rows`` as the table ``name``; rows without an interval may leave its columns out."""
    table = pd.DataFrame(rows)
    absent = {column for column in INTERVAL_COLUMNS if column in COLUMNS[name]} - set(table.columns)
    return DRIFT_TABLES.typed(name, table.assign(**dict.fromkeys(sorted(absent), float("nan"))) if rows else table)
