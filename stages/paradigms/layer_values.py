"""Read one quantity of one model along tasks and layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from stages.models.names import stage_of
from stages.paradigms.tables import RECORD_TABLES
from stages.shared.tables import TableError
from stages.statistics.contrast import LayerValues
from stages.statistics.half_sampling import complement_deviations


def layer_values(
    folder: Path,
    measure: str,
    variant: str,
    quantity: str,
    aggregation: str,
    site: str,
    tasks: Sequence[str],
    scale: Callable = lambda x: x,
) -> LayerValues:
    """Return ``quantity`` (value or index) of one measure at every layer of ``site``, with its half-sample deviations.

    Parameters: all but ``scale`` name the rows of one folder of tables, as `plain_values` and `is_measured` take them.
    ``scale`` is applied to values and half-sample values alike (np.log turns differences into relative ones).
    Raises TableError when a task, the site or the aggregation is absent, or no half-samples were stored for the site.
    """
    records = _select(folder, "records", measure, variant, aggregation, site)
    values = scale(_grid(folder, records, quantity, site, tasks))  # (tasks, layers)
    n = _grid(folder, records, "n", site, tasks)
    stored = _select(folder, "replicates", measure, variant, aggregation, site)
    stored = stored[(stored["quantity"] == quantity) & stored["task"].isin(tasks)]
    if stored.empty and np.isfinite(values).any():
        raise TableError(
            f"{folder}: no half-samples of {measure} {variant} at {site}: add {site} to measure.interval_sites"
        )
    replicates = np.full(
        (*values.shape, 1 + stored["replicate"].max() if len(stored) else 1), np.nan
    )  # (tasks, layers, B)
    positions = {task: i for i, task in enumerate(tasks)}
    replicates[stored["task"].map(positions).astype(int), stored["layer"], stored["replicate"]] = scale(stored["value"])
    return LayerValues(values, complement_deviations(replicates, n))


def is_measured(folder: Path, measure: str, variant: str, aggregation: str, site: str) -> bool:
    """Return whether the variant was measured at that position and site."""
    return len(_select(folder, "records", measure, variant, aggregation, site)) > 0


def plain_values(
    folder: Path, measure: str, variant: str, aggregation: str, site: str, tasks: Sequence[str]
) -> np.ndarray:
    """Return the values (tasks, layers), without intervals."""
    return _grid(folder, _select(folder, "records", measure, variant, aggregation, site), "value", site, tasks)


def _select(folder: Path, name: str, measure: str, variant: str, aggregation: str, site: str) -> pd.DataFrame:
    table = RECORD_TABLES.read(folder, name)
    if aggregation not in (aggregations := sorted(set(table["aggregation"]))) and len(table):
        raise TableError(
            f"{folder}: no {name} of {aggregation}, only of {', '.join(aggregations)}: add {aggregation} to collect.aggregations and to what measure reads, "
            f"then `dvc repro {stage_of('measure', folder.name)}`"
        )
    located = (table["aggregation"] == aggregation) & (table["site"] == site)
    return table[located & (table["measure"] == measure) & (table["variant"] == variant)]


def _grid(folder: Path, records: pd.DataFrame, column: str, site: str, tasks: Sequence[str]) -> np.ndarray:
    """Return ``column`` as (tasks, layers); every task must have every layer, once."""
    wide = records[records["task"].isin(tasks)].pivot(index="task", columns="layer", values=column)
    if absent := sorted(set(tasks) - set(wide.index)):
        raise TableError(
            f"{folder}: no records at {site} for {', '.join(absent)}: rebuild them with `dvc repro {stage_of('measure', folder.name)}`, or add the site to collect.sites"
        )
    return wide.loc[list(tasks)].to_numpy()
