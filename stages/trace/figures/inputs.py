"""Everything that the figures of the trace study read, and which courses of training make one lineage."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from stages.trace.lineage import Course
from stages.trace.params import Headline
from stages.trace.series import Series, read_series
from stages.trace.tables import TRACE_TABLES

# Columns that the figures use of the tables of the stage that summarises.
COLUMNS = {
    "phases": ["line", "site", "stretch", "label", "from_step", "to_step", "scope", "p"],
    "directions": ["line", "parent", "measure", "change", "low", "high", "label"],
    "correlations": ["line", "run", "kind", "support", "step", "rho", "low", "high", "n"],
    "support": ["line", "run", "kind", "stratum", "step", "log_likelihood", "standard_error", "greedy", "n"],
}


# The text of a figure without any course.
NOT_TRACED = "No training run is traced: name organisms or runs under `trace` in params.yaml."


class TraceFigureError(ValueError):
    """A table is missing; the message names the file and the stage that writes it."""


class CourseTables(NamedTuple):
    """The tables of one course, those of all its runs in one, with the column `run`; without the failed checkpoints."""

    course: Course
    series: Series
    """The mean over families."""
    families: tuple[Series, ...]
    checkpoints: pd.DataFrame
    failed: int
    """Number of checkpoints without measurements, of all runs."""
    records: pd.DataFrame
    accuracy: pd.DataFrame
    rarefaction: pd.DataFrame


class TraceFigureInputs(NamedTuple):
    """The tables of all courses, and those that the stage before wrote."""

    courses: dict[str, CourseTables]
    phases: pd.DataFrame
    directions: pd.DataFrame
    correlations: pd.DataFrame
    support: pd.DataFrame
    headline: Headline
    confidence: float


def read_inputs(
    courses: Sequence[Course], traces: Path, tables: Path, headline: Headline, confidence: float
) -> TraceFigureInputs:
    """Read the tables of exactly the given courses.

    Raises TraceFigureError or TableError, naming the file that is missing and its stage.
    """
    summary = {name: _read_table(tables / f"{name}.csv", columns) for name, columns in COLUMNS.items()}
    summary["phases"] = summary["phases"][summary["phases"]["site"] == headline.site]
    for name in ("correlations", "support"):  # of the first family: each has a corpus of its own
        summary[name] = summary[name][summary[name]["run"].isin([course.runs[0] for course in courses])]
    return TraceFigureInputs(
        {course.name: _course_tables(course, traces, headline) for course in courses},
        **summary,
        headline=headline,
        confidence=confidence,
    )


def main_lineage(courses: dict[str, CourseTables]) -> list[CourseTables]:
    """Return the course from scratch with the most courses that descend from it, and these, each behind its parent.

    A course whose parent is not followed is taken for a beginning where nothing was trained from scratch. The list is
    empty without any course.
    """
    beginnings = [tables for tables in courses.values() if tables.course.parent is None] or [
        tables for tables in courses.values() if tables.course.parent not in courses
    ]
    return max((_lineage(tables, courses) for tables in beginnings), key=len, default=[])


def parent_tables(tables: CourseTables, lineage: Sequence[CourseTables]) -> CourseTables | None:
    """Return the tables of the course from whose end ``tables`` starts; None where it is not in the lineage."""
    return next((parent for parent in lineage if parent.course.name == tables.course.parent), None)


def half_width(deviations: np.ndarray, confidence: float) -> np.ndarray:
    """Return half the width (T,) of Student's interval at ``confidence`` from ``deviations`` (K, T), K degrees of freedom."""
    from scipy.stats import t

    return float(t.ppf(0.5 + confidence / 2, len(deviations))) * np.sqrt((deviations**2).mean(axis=0))


def family_means(rows: pd.DataFrame, keys: list[str], values: list[str]) -> pd.DataFrame:
    """Return means over runs of ``values`` by ``keys`` and checkpoint, the first, second, ... of each run.

    ``rows`` with `run` and `step` become rows with the mean step, rounded.
    """
    checkpoint = rows.groupby("run")["step"].rank(method="dense").astype(int)
    means = rows.assign(checkpoint=checkpoint).groupby([*keys, "checkpoint"], sort=False)[["step", *values]].mean()
    return means.reset_index().assign(step=lambda table: table["step"].round().astype(int))


def checkpoint_times(series: Series) -> pd.DataFrame:
    """Return step, rounded as in the tables of phases, and tokens, empty where not known, of each checkpoint."""
    return pd.DataFrame({"step": np.rint(series.steps).astype(int), "tokens": series.tokens})


def headline_place(headline: Headline) -> str:
    """Return the headline's place in words, for the beginning of a sentence."""
    level = "Content tokens" if headline.level == "token" else "Last tokens of the sequences"
    site = "after the final norm" if headline.site == "final_norm" else "at the last layer, before the final norm"
    return f"{level} {site}"


def failure_sentence(courses: Sequence[CourseTables]) -> str:
    """Return a sentence on the checkpoints that failed, empty without any."""
    failed = [f"{tables.failed} of {tables.course.name}" for tables in courses if tables.failed]
    return f" Checkpoints that failed are left out: {', '.join(failed)}." if failed else ""


def _lineage(first: CourseTables, courses: dict[str, CourseTables]) -> list[CourseTables]:
    lineage = [first]
    for tables in lineage:
        lineage += [child for child in courses.values() if child.course.parent == tables.course.name]
    return lineage


def _course_tables(course: Course, traces: Path, headline: Headline) -> CourseTables:
    tables = {
        name: pd.concat(
            [TRACE_TABLES.read(traces / run, name).assign(run=run) for run in course.runs], ignore_index=True
        )
        for name in ("checkpoints", "records", "accuracy", "rarefaction")
    }
    sound = tables["checkpoints"]["missing"] == ""
    tables["checkpoints"] = tables["checkpoints"][sound]
    families = tuple(read_series([run], traces, headline) for run in course.runs)
    series = read_series(course.runs, traces, headline)
    return CourseTables(course, series, families, failed=int((~sound).sum()), **tables)


def _read_table(path: Path, columns: list[str]) -> pd.DataFrame:
    if not path.is_file():
        raise TraceFigureError(f"{path} not found: run `dvc repro trace-summarise`")
    return pd.read_csv(path, dtype={"stratum": str})[columns]
