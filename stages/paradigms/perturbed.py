"""The table of models moved as far as a sibling, `data/probes/perturbed/{model}/points.parquet`, and its few headline numbers.

Whether a model keeps the reference's geometry because of where its training led, or only because it moved little, is
told by models that moved as far in random directions (`stages/paradigms/perturbation.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from stages.paradigms.tables import PERTURBED_TABLES

RANDOM = ("isotropic", "spectrum_preserving")
MEASURES = ("preservation", "effective_rank", "cka")


def rows_of(point: dict, task: str, layer: int, scores: Mapping[str, float]) -> list[dict]:
    """One row for each measure of one layer of the ``point`` (kind, draw, t, step, displacement); ``scores`` by measure."""
    common = {**point, "task": task, "layer": layer}
    return [
        {
            **common,
            "measure": measure,
            "value": scores[measure],
            "index": scores["index"] if measure == "preservation" else np.nan,
        }
        for measure in MEASURES
    ]


def read_all(root: Path, recipes: dict[str, str]) -> pd.DataFrame:
    """The tables of exactly the models of ``recipes`` (model: recipe), with these two as columns."""
    empty = pd.DataFrame(columns=[*PERTURBED_TABLES.columns["points"], "model", "recipe"])
    tables = [
        PERTURBED_TABLES.read(root / model, "points").assign(model=model, recipe=recipe)
        for model, recipe in recipes.items()
    ]
    return pd.concat(tables, ignore_index=True) if tables else empty


def mean_index(table: pd.DataFrame) -> pd.DataFrame:
    """One row for each point: kind, draw, t, step, displacement, and the index averaged over tasks and layers.

    A layer without an index at any of the points is left out of all, so that points differ by their models alone.
    """
    keys = ["kind", "draw", "t", "step", "displacement"]
    rows = table[table["measure"] == "preservation"]
    cells = rows.pivot_table(index=["task", "layer"], values="index", aggfunc=lambda index: index.isna().sum())["index"]
    whole = cells.index[cells == 0]
    rows = rows[pd.MultiIndex.from_frame(rows[["task", "layer"]]).isin(whole)]
    return rows.groupby(keys, dropna=False, sort=False)["index"].mean().reset_index()


def headline(table: pd.DataFrame, like: str, matched: float | None) -> dict:
    """Index of the model, of its nulls and of the two points that share its directions, means over tasks and layers.

    ``matched``: the t at which the model's own line has the displacement of ``like``, if it has. Ranks are
    p = (1 + #{nulls that keep no more (no less)}) / (draws + 1): a small ``p_keeps_less`` says that the model keeps less
    than random updates of its size do, a small ``p_keeps_more`` that it keeps more. Each is one-sided; double the
    smaller one for a two-sided p.
    """
    points = mean_index(table)
    line = points[points["kind"] == "interpolation"].set_index("t")
    observed = float(line.at[1.0, "index"])
    found = {
        "displacement": float(line.at[1.0, "displacement"]),
        "index": observed,
        "negated": {"index": float(points.loc[points["kind"] == "negated", "index"].iloc[0])},
    }
    for kind in RANDOM:
        nulls = points.loc[points["kind"] == kind, "index"]
        found[kind] = {
            "mean": float(nulls.mean()),
            "lowest": float(nulls.min()),
            "highest": float(nulls.max()),
            "p_keeps_less": float((1 + (nulls <= observed).sum()) / (len(nulls) + 1)),
            "p_keeps_more": float((1 + (nulls >= observed).sum()) / (len(nulls) + 1)),
        }
    if matched is not None:
        found[f"at_displacement_of_{like}"] = {"index": float(line.at[matched, "index"])}
    return found
