"""The tables that the figures of the drift study read, and the names of depths and recipes on their axes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from stages.drift.clouds import CONTENT
from stages.drift.compared_models import ComparedModel, by_recipe
from stages.drift.depth_curves import DepthCurve, depth_curve
from stages.drift.params import Drift
from stages.drift.sample_files import FINAL
from stages.drift.tables import COLUMNS, DRIFT_TABLES
from stages.models.names import recipe_of
from stages.shared.figure_style import Look, looks
from stages.statistics.deviations import student_interval

# Tables that the stage drift-measure writes beside the figures.
SUMMARIES = ("course", "transitions")
ALONE = "No model is compared with a reference: name siblings in drift.organisms, or models in study.models."
# Letters of five names that fit side by side.
SHORT_NAMES = 75


class DriftFigureError(ValueError):
    """A table is missing; the message names the file and the stage that writes it."""


class DriftInputs(NamedTuple):
    """Everything that a figure reads. Every table has the recipe of a row's model in the column `line`."""

    records: pd.DataFrame
    profile: pd.DataFrame
    """The profiles of final states"""
    deviations: pd.DataFrame
    course: pd.DataFrame
    transitions: pd.DataFrame
    recipes: dict[str, list[ComparedModel]]
    """The models of each recipe, one a family; recipes that are their own reference come first"""
    params: Drift

    @property
    def styles(self) -> dict[str, Look]:
        """Return how each recipe is drawn."""
        return looks(self.recipes)

    @property
    def bases(self) -> list[str]:
        """Return the recipes that are compared with no other model."""
        return [recipe for recipe in self.recipes if recipe not in self.siblings]

    @property
    def siblings(self) -> list[str]:
        """Return the recipes that are compared with a reference."""
        compared = set(self.records.loc[self.records["kind"] == "models", "line"])
        return [recipe for recipe in self.recipes if recipe in compared]

    @property
    def band(self) -> str:
        """Return the words for the bands of a figure: their confidence, and what is sampled."""
        several = [len(members) > 1 for members in self.recipes.values()]
        sampled = "families" if any(several) else "prompts"
        alone = "" if all(several) or not any(several) else ", over prompts of a model without further families"
        return f"{self.params.confidence:.0%} over {sampled}{alone}"

    @property
    def columns(self) -> int:
        """Return the number of columns of a legend of the recipes: five where their names are short."""
        longest = sorted((len(look.label) for look in self.styles.values()), reverse=True)[:5]
        return 5 if sum(longest) < SHORT_NAMES else 3

    @property
    def sample(self) -> str:
        """Return the words for how many content tokens of how many tasks there are."""
        rows = self.profile[self.profile["tokens"] == CONTENT]
        low, high, tasks = rows["n"].min(), rows["n"].max(), rows["task"].nunique()
        return f"{low if low == high else f'{low} to {high}'} content tokens a task, {tasks} task{'s' * (tasks > 1)}"

    @property
    def depths(self) -> str:
        """Return the sentence that explains an axis of depths where models have unlike numbers of layers, or nothing."""
        last = self.profile.groupby("model")["point"].max()
        return (
            " Points are named as in the deepest model; the last of a shallower one is its final norm."
            if last.nunique() > 1
            else ""
        )


def read_inputs(records: Path, plots: Path, compared: Sequence[ComparedModel], params: Drift) -> DriftInputs:
    """Read the tables of exactly the ``compared`` models.

    Raises DriftFigureError or TableError, naming what is missing and its stage.
    """
    tables = {name: DRIFT_TABLES.read(records, name) for name in COLUMNS if name != "profile_deviations"}
    models = [entry.model for entry in compared]
    for name, table in tables.items():
        rows = table[table["model"].isin(models)]
        tables[name] = rows.assign(line=rows["model"].map(recipe_of))
    summaries = []
    for name in SUMMARIES:
        path = plots / f"{name}.csv"
        if not path.is_file():
            raise DriftFigureError(f"{path} not found: run `dvc repro drift-measure`")
        summaries.append(pd.read_csv(path, keep_default_na=False, na_values=[""]))
    profile = tables["profile"][tables["profile"]["state"] == FINAL]
    return DriftInputs(tables["records"], profile, tables["deviations"], *summaries, by_recipe(compared), params)


def curve_table(inputs: DriftInputs, recipes: Sequence[str], comparison: str) -> pd.DataFrame:
    """Return the headline's curves of ``recipes``: line, point, value, low, high; at the confidence of the params."""
    tables = {"records": inputs.records, "deviations": inputs.deviations}
    parts = []
    for recipe in recipes:
        models = [member.model for member in inputs.recipes[recipe]]
        curve = depth_curve(tables, models, comparison, "w2", inputs.params.basis)
        parts.append(_curve_rows(curve, inputs.params.confidence).assign(line=recipe))
    columns = ["line", "point", "value", "low", "high"]
    return pd.concat(parts, ignore_index=True)[columns] if parts else pd.DataFrame(columns=columns)


def _curve_rows(curve: DepthCurve, confidence: float) -> pd.DataFrame:
    estimates = [student_interval(float(y), d, confidence) for y, d in zip(curve.y, curve.deviations.T, strict=True)]
    return pd.DataFrame([{"point": depth, **estimate._asdict()} for depth, estimate in enumerate(estimates)])


def mean_by_depth(rows: pd.DataFrame, column: str = "value") -> pd.DataFrame:
    """Return means over tasks and families: line, point, value; missing where one of them is."""
    means = rows.groupby(["line", "point"], sort=False, as_index=False)[column].mean(skipna=False)
    return means.rename(columns={column: "value"})


def headline(
    inputs: DriftInputs, comparison: str, measure: str = "w2", state: str = FINAL, tokens: str = CONTENT
) -> pd.DataFrame:
    """Return the records of one comparison in the headline's basis."""
    rows = inputs.records
    rows = rows[(rows["kind"] == comparison) & (rows["measure"] == measure) & (rows["state"] == state)]
    return rows[(rows["tokens"] == tokens) & (rows["basis"] == inputs.params.basis)]


def depth_names(depths: int) -> list[str]:
    """Return the names of the embedding, every layer, and the final norm."""
    return ["emb", *(str(layer) for layer in range(depths - 2)), "norm"]


def name_depths(axis, depths: int, steps: bool = False) -> None:
    """Set ticks on an axis of ``depths`` depths, at most a dozen; with ``steps`` a position lies between two depths."""
    names = depth_names(depths)
    if steps:
        names = [f"{start}→{end}" for start, end in zip(names, names[1:], strict=False)]
    ticks = range(0, len(names), -(-len(names) // 12))
    axis.set_ticks(list(ticks), [names[tick] for tick in ticks])


def draw_curves(axes, rows: pd.DataFrame, styles: dict[str, Look], widths: dict[str, float]) -> None:
    """Draw a line with its band for each recipe (`line`) in ``rows``."""
    for recipe, look in styles.items():
        curve = rows[rows["line"] == recipe]
        if len(curve):
            axes.plot(
                curve["point"],
                curve["value"],
                color=look.colour,
                linestyle=look.dash,
                linewidth=widths[recipe],
                marker=look.marker,
                markersize=3.2,
            )
            axes.fill_between(curve["point"], curve["low"], curve["high"], color=look.colour, alpha=0.18, linewidth=0)
