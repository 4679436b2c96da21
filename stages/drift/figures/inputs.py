"""Everything that the figures of the drift study read, and how they name points and lines."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from stages.drift.clouds import CONTENT
from stages.drift.comparisons import Subject
from stages.drift.curves import Curve, curve, families_of
from stages.drift.params import Drift
from stages.drift.samples import FINAL
from stages.drift.tables import COLUMNS, DRIFT_TABLES
from stages.models.names import recipe_of
from stages.shared.figure_style import Look, looks
from stages.statistics.layer_trend import estimate

OF_STAGE = ("course", "transitions")
"""Tables that the stage drift writes beside the figures."""
ALONE = "No model is compared with a reference: name siblings in drift.organisms, or models in study.models."
SHORT_NAMES = 75
"""Letters of five names that fit side by side."""


class DriftFigureError(ValueError):
    """A table is missing; the message names the file and the stage that writes it."""


class Inputs(NamedTuple):
    records: pd.DataFrame
    """With the column `line`."""
    profile: pd.DataFrame
    """The same, of final states."""
    deviations: pd.DataFrame
    course: pd.DataFrame
    transitions: pd.DataFrame
    families: dict[str, list[Subject]]
    """By line, those that are their own reference first."""
    params: Drift

    @property
    def styles(self) -> dict[str, Look]:
        return looks(self.families)

    @property
    def bases(self) -> list[str]:
        """Lines that are compared with no other model."""
        return [line for line in self.families if line not in self.siblings]

    @property
    def siblings(self) -> list[str]:
        compared = set(self.records.loc[self.records["kind"] == "models", "line"])
        return [line for line in self.families if line in compared]

    @property
    def band(self) -> str:
        several = [len(members) > 1 for members in self.families.values()]
        over = "families" if any(several) else "prompts"
        alone = "" if all(several) or not any(several) else ", over prompts of a model without further families"
        return f"{self.params.confidence:.0%} over {over}{alone}"

    @property
    def columns(self) -> int:
        """Of a legend of the lines: five where their names are short."""
        longest = sorted((len(look.label) for look in self.styles.values()), reverse=True)[:5]
        return 5 if sum(longest) < SHORT_NAMES else 3

    @property
    def sample(self) -> str:
        """How many content tokens of how many tasks."""
        rows = self.profile[self.profile["tokens"] == CONTENT]
        low, high, tasks = rows["n"].min(), rows["n"].max(), rows["task"].nunique()
        return f"{low if low == high else f'{low} to {high}'} content tokens a task, {tasks} task{'s' * (tasks > 1)}"

    @property
    def depths(self) -> str:
        """What an axis of points is to say where models differ in depth."""
        last = self.profile.groupby("model")["point"].max()
        return (
            " Points are named as in the deepest model; the last of a shallower one is its final norm."
            if last.nunique() > 1
            else ""
        )


def read_inputs(records: Path, tables: Path, subjects: Sequence[Subject], params: Drift) -> Inputs:
    """Of exactly the ``subjects``. Raises DriftFigureError or TableError, naming what is missing and its stage."""
    found = {name: DRIFT_TABLES.read(records, name) for name in COLUMNS if name != "profile_deviations"}
    models = [subject.model for subject in subjects]
    for name, table in found.items():
        own = table[table["model"].isin(models)]
        found[name] = own.assign(line=own["model"].map(recipe_of))
    csv = []
    for name in OF_STAGE:
        path = tables / f"{name}.csv"
        if not path.is_file():
            raise DriftFigureError(f"{path} not found: run `dvc repro drift`")
        csv.append(pd.read_csv(path, keep_default_na=False, na_values=[""]))
    profile = found["profile"][found["profile"]["state"] == FINAL]
    return Inputs(found["records"], profile, found["deviations"], *csv, families_of(subjects), params)


def curve_of(read: Inputs, line: str, kind: str) -> Curve:
    models = [subject.model for subject in read.families[line]]
    return curve({"records": read.records, "deviations": read.deviations}, models, kind, "w2", read.params.basis)


def curve_table(read: Inputs, lines: Sequence[str], kind: str) -> pd.DataFrame:
    """The headline's curves of ``lines``: line, point, value, low, high; intervals at the confidence of the params."""
    parts = [_curve_rows(curve_of(read, line, kind), read.params.confidence).assign(line=line) for line in lines]
    columns = ["line", "point", "value", "low", "high"]
    return pd.concat(parts, ignore_index=True)[columns] if parts else pd.DataFrame(columns=columns)


def _curve_rows(found: Curve, confidence: float) -> pd.DataFrame:
    rows = [estimate(float(y), own, confidence) for y, own in zip(found.y, found.deviations.T, strict=True)]
    return pd.DataFrame([{"point": point, **row._asdict()} for point, row in enumerate(rows)])


def mean_by_point(rows: pd.DataFrame, column: str = "value") -> pd.DataFrame:
    """Means over tasks and families: line, point, value; missing where one of them is."""
    means = rows.groupby(["line", "point"], sort=False, as_index=False)[column].mean(skipna=False)
    return means.rename(columns={column: "value"})


def headline(read: Inputs, kind: str, measure: str = "w2", state: str = FINAL, tokens: str = CONTENT) -> pd.DataFrame:
    """Records of one kind in the headline's basis."""
    rows = read.records
    return rows[
        (rows["kind"] == kind) & (rows["measure"] == measure) & (rows["state"] == state)
        & (rows["tokens"] == tokens) & (rows["basis"] == read.params.basis)
    ]  # fmt: skip


def point_names(points: int) -> list[str]:
    """Of the embedding, every layer, and the final norm."""
    return ["emb", *(str(layer) for layer in range(points - 2)), "norm"]


def name_points(axis, points: int, steps: bool = False) -> None:
    """Ticks on an axis of ``points`` points, at most a dozen; with ``steps`` a position lies between two points."""
    names = point_names(points)
    if steps:
        names = [f"{one}→{other}" for one, other in zip(names, names[1:], strict=False)]
    shown = range(0, len(names), -(-len(names) // 12))
    axis.set_ticks(list(shown), [names[place] for place in shown])


def draw_curves(axes, rows: pd.DataFrame, styles: dict[str, Look], widths: dict[str, float]) -> None:
    """A line with its band for each `line` in ``rows``."""
    for line, look in styles.items():
        own = rows[rows["line"] == line]
        if len(own):
            axes.plot(own["point"], own["value"], color=look.colour, linestyle=look.dash, linewidth=widths[line],
                      marker=look.marker, markersize=3.2)  # fmt: skip
            axes.fill_between(own["point"], own["low"], own["high"], color=look.colour, alpha=0.18, linewidth=0)
