"""Curves over depth with the errors that their points share: means over tasks, and over families where there are several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from stages.drift.clouds import CONTENT
from stages.drift.comparisons import Subject
from stages.drift.samples import FINAL
from stages.models.names import recipe_of
from stages.shared.tables import TableError
from stages.statistics.phases import family_deviations


class Curve(NamedTuple):
    """T values over depth; ``deviations`` D (K, T), Cov(errors) ~ D'D / K."""

    y: np.ndarray
    deviations: np.ndarray
    basis: str

    @property
    def standard_errors(self) -> np.ndarray:
        return np.sqrt((self.deviations**2).mean(axis=0))


def families_of(subjects: Sequence[Subject]) -> dict[str, list[Subject]]:
    """The subjects of each line: a recipe has one in every family."""
    found: dict[str, list[Subject]] = {}
    for subject in subjects:
        found.setdefault(recipe_of(subject.model), []).append(subject)
    return found


def curve(tables: Mapping[str, pd.DataFrame], models: Sequence[str], kind: str, measure: str, basis: str) -> Curve:
    """``measure`` between neighbouring points (``layers``) or between models at each point (``models``).

    One model: errors over prompts, the tasks' side by side, since they are independent. Several: over families.
    """
    records = neighbours(tables["records"], kind)
    records = records[(records["basis"] == basis) & (records["tokens"] == CONTENT) & (records["measure"] == measure)]
    draws = neighbours(tables["deviations"], kind)
    draws = draws[draws["measure"] == measure]
    return Curve(*_joined(records, draws, models), basis)


def size_curve(tables: Mapping[str, pd.DataFrame], models: Sequence[str], name: str) -> tuple[np.ndarray, np.ndarray]:
    """``name``, one of `drifting.SIZES`, at every point, and its deviations."""
    profile = tables["profile"]
    measure = name.removeprefix("log_")
    rows = profile[(profile["measure"] == measure) & (profile["tokens"] == CONTENT)]
    rows = rows.assign(value=np.log(rows["value"]))
    draws = tables["profile_deviations"]
    return _joined(rows, draws[draws["measure"] == name], models)


def neighbours(table: pd.DataFrame, kind: str) -> pd.DataFrame:
    """Rows of one kind, between final states; of layers those of a point and the next."""
    rows = table[(table["kind"] == kind) & (table["state"] == FINAL)]
    return rows[rows["other_point"] == rows["point"] + 1] if kind == "layers" else rows


def _joined(records: pd.DataFrame, draws: pd.DataFrame, models: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    values = np.stack([_values(records, model) for model in models])  # (families, T)
    if len(models) > 1:
        return values.mean(axis=0), family_deviations(values)
    own = draws[draws["model"] == models[0]]
    of_tasks = [
        rows.pivot(index="half", columns="point", values="value").to_numpy()  # (K, T)
        for _, rows in own.groupby("task", sort=True)
    ]
    return values[0], np.concatenate(of_tasks) / np.sqrt(len(of_tasks))


def _values(records: pd.DataFrame, model: str) -> np.ndarray:
    """(T,) means over tasks."""
    own = records[records["model"] == model]
    if own.empty:
        raise TableError(f"no distances of {model}: rebuild them with `dvc repro drift`")
    return own.pivot(index="task", columns="point", values="value").to_numpy().mean(axis=0)
