"""The records of models moved as far as a sibling: the table `data/probes/perturbed/{model}/points.parquet`.

Whether a model keeps the reference's geometry because of where its training led, or only because it moved little, is
told by models that moved as far in random directions (`stages/paradigms/perturbation.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from stages.paradigms.tables import PERTURBED_TABLES

MEASURES = ("preservation", "effective_rank", "cka")


def perturbed_rows(point: dict, task: str, layer: int, scores: Mapping[str, float]) -> list[dict]:
    """Return one row for each measure of one layer of the ``point`` (kind, draw, t, step, displacement).

    ``scores``: numbers by measure, and the adjusted `index` of preservation (`fast_scores.Scores`).
    """
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


def read_perturbed(root: Path, recipes: dict[str, str]) -> pd.DataFrame:
    """Return the tables of exactly the models of ``recipes`` (model: recipe), with these two as columns."""
    empty = pd.DataFrame(columns=[*PERTURBED_TABLES.columns["points"], "model", "recipe"])
    tables = [
        PERTURBED_TABLES.read(root / model, "points").assign(model=model, recipe=recipe)
        for model, recipe in recipes.items()
    ]
    return pd.concat(tables, ignore_index=True) if tables else empty


def mean_index(table: pd.DataFrame) -> pd.DataFrame:
    """Return one row for each point: kind, draw, t, step, displacement, and the index averaged over tasks and layers.

    A layer without an index at any of the points is left out of all, so that points differ by their models alone.
    """
    keys = ["kind", "draw", "t", "step", "displacement"]
    rows = table[table["measure"] == "preservation"]
    cells = rows.pivot_table(index=["task", "layer"], values="index", aggfunc=lambda index: index.isna().sum())["index"]
    whole = cells.index[cells == 0]
    rows = rows[pd.MultiIndex.from_frame(rows[["task", "layer"]]).isin(whole)]
    return rows.groupby(keys, dropna=False, sort=False)["index"].mean().reset_index()
