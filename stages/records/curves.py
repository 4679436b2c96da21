"""Read one quantity of one model along tasks and layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from stages.records.table import RecordError, read
from stages.statistics.contrast import Curve


def curve(folder: Path, measure: str, variant: str, quantity: str, site: str, tasks: Sequence[str], scale: Callable = lambda x: x) -> Curve:
    """``quantity`` (value or index) of one measure at every layer of ``site``, with its half-sample deviations.

    ``scale`` is applied to values and half-sample values alike (np.log turns differences into relative ones).
    Raises RecordError when a task or the site is absent, or no replicates were stored for the site.
    """
    records = _select(folder, "records", measure, variant, site, tasks)
    values = scale(_grid(records, quantity, tasks))  # (tasks, layers)
    n = _grid(records, "n", tasks)
    stored = _select(folder, "replicates", measure, variant, site, tasks, quantity)
    if stored.empty and np.isfinite(values).any():
        raise RecordError(f"{folder}: no half-samples of {measure} {variant} at {site}: add {site} to measure.interval_sites")
    draws = int(stored["replicate"].max()) + 1 if len(stored) else 1
    replicates = np.full((*values.shape, draws), np.nan)
    positions = {task: i for i, task in enumerate(tasks)}
    replicates[stored["task"].map(positions).astype(int), stored["layer"], stored["replicate"]] = scale(stored["value"])
    m = n // 4 * 2
    factor = np.sqrt(m / (n - m))  # (tasks, layers)
    return Curve(values, (replicates - replicates.mean(axis=-1, keepdims=True)) * factor[..., None])


def values(folder: Path, measure: str, variant: str, site: str, tasks: Sequence[str]) -> np.ndarray:
    """Values (tasks, layers) without intervals."""
    return _grid(_select(folder, "records", measure, variant, site, tasks), "value", tasks)


def _select(folder: Path, name: str, measure: str, variant: str, site: str, tasks: Sequence[str], quantity: str = "") -> pd.DataFrame:
    table = read(folder, name)
    keep = (table["measure"] == measure) & (table["variant"] == variant) & (table["site"] == site) & table["task"].isin(tasks)
    return table[keep & (table["quantity"] == quantity)] if quantity else table[keep]


def _grid(records: pd.DataFrame, column: str, tasks: Sequence[str]) -> np.ndarray:
    """``column`` as (tasks, layers); every task must have every layer, once."""
    wide = records.pivot(index="task", columns="layer", values=column)
    if set(wide.index) != set(tasks) or wide.shape[1] == 0 or list(wide.columns) != list(range(wide.shape[1])):
        raise RecordError(f"expected the tasks {sorted(tasks)} with all layers, found {sorted(wide.index)} with layers {list(wide.columns)}; `dvc repro` the measure stage")
    return wide.loc[list(tasks)].to_numpy()
