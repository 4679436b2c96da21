"""Curves over depth with the errors that their points share: means over tasks, and over families where there are several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from stages.drift.clouds import CONTENT
from stages.drift.sample_files import FINAL
from stages.shared.tables import TableError
from stages.statistics.deviations import family_deviations


class DepthCurve(NamedTuple):
    """T values over depth; ``deviations`` D (K, T), Cov(errors) ~ D'D / K."""

    y: np.ndarray
    deviations: np.ndarray

    @property
    def standard_errors(self) -> np.ndarray:
        """Return the standard errors (T,) of the values."""
        return np.sqrt((self.deviations**2).mean(axis=0))


def depth_curve(
    tables: Mapping[str, pd.DataFrame], models: Sequence[str], comparison: str, measure: str, basis: str
) -> DepthCurve:
    """Return ``measure`` between adjacent depths (``layers``) or between models at each depth (``models``).

    ``models`` are those of one recipe. One model: errors over prompts, the tasks' side by side, since they are
    independent. Several: over families. Raises TableError where a model has no rows.
    """
    records = curve_rows(tables["records"], comparison)
    records = records[(records["basis"] == basis) & (records["tokens"] == CONTENT) & (records["measure"] == measure)]
    draws = curve_rows(tables["deviations"], comparison)
    return _mean_curve(records, draws[draws["measure"] == measure], models)


def size_curve(tables: Mapping[str, pd.DataFrame], models: Sequence[str], size: str) -> DepthCurve:
    """Return ``size``, one of `comparisons.SIZES`, at every depth."""
    profile, draws = tables["profile"], tables["profile_deviations"]
    rows = profile[(profile["measure"] == size.removeprefix("log_")) & (profile["tokens"] == CONTENT)]
    return _mean_curve(rows.assign(value=np.log(rows["value"])), draws[draws["measure"] == size], models)


def curve_rows(table: pd.DataFrame, comparison: str) -> pd.DataFrame:
    """Return the rows of one comparison between final states; of layers those of a depth and the next."""
    rows = table[(table["kind"] == comparison) & (table["state"] == FINAL)]
    return rows[rows["other_point"] == rows["point"] + 1] if comparison == "layers" else rows


def _mean_curve(records: pd.DataFrame, draws: pd.DataFrame, models: Sequence[str]) -> DepthCurve:
    values = np.stack([_mean_over_tasks(records, model) for model in models])  # (families, T)
    if len(models) > 1:
        return DepthCurve(values.mean(axis=0), family_deviations(values))
    by_task = [
        rows.pivot(index="half", columns="point", values="value").to_numpy()  # (K, T)
        for _, rows in draws[draws["model"] == models[0]].groupby("task", sort=True)
    ]
    return DepthCurve(values[0], np.concatenate(by_task) / np.sqrt(len(by_task)))


def _mean_over_tasks(records: pd.DataFrame, model: str) -> np.ndarray:
    """Return means (T,) over tasks."""
    rows = records[records["model"] == model]
    if rows.empty:
        raise TableError(f"no distances of {model}: rebuild them with `dvc repro drift-measure`")
    return rows.pivot(index="task", columns="point", values="value").to_numpy().mean(axis=0)
