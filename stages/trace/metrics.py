"""The few numbers of the trace study that a reader compares between commits, and the tables behind its figures."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from stages.models.names import stage_of
from stages.shared.files import FileSource
from stages.shared.tables import TableError, read_table
from stages.trace.lineage import Course
from stages.trace.memorization import correlations, likelihoods_by_stratum, relations
from stages.trace.params import PhaseParams
from stages.trace.phases import LEAST_CHECKPOINTS, change_directions, phase_metrics
from stages.trace.series import Series, read_series
from stages.trace.tables import TRACE_TABLES

log = logging.getLogger(__name__)

# Sites whose phases are detected: what the head reads, and the raw residual stream.
SITES = ("final_norm", "resid_post")
# Columns of the tables, in order.
COLUMNS = {
    "phases": (
        "line", "site", "stretch", "label", "from_step", "to_step", "scope",
        "ln_rankme_slope_value", "ln_rankme_slope_standard_error", "ln_rankme_slope_low", "ln_rankme_slope_high",
        "alpha_slope_value", "alpha_slope_standard_error", "alpha_slope_low", "alpha_slope_high", "threshold", "p",
    ),
    "directions": ("line", "parent", "measure", "change", "standard_error", "low", "high", "label"),
    "correlations": ("line", "run", "kind", "support", "step", "rho", "low", "high", "n"),
    "support": ("line", "run", "kind", "stratum", "step", "log_likelihood", "standard_error", "greedy", "n"),
    "relations": ("line", "run", "kind", "stratum", "measure", "rho", "checkpoints"),
}  # fmt: skip


def final_values(course: Course, series: Series, traces: Path) -> dict[str, float]:
    """Return the values of the last checkpoint, means over families.

    With them stands how many checkpoints failed or repeat another's weights, where there are any.
    """
    checkpoints = pd.concat([TRACE_TABLES.read(traces / run, "checkpoints") for run in course.runs])
    accuracy = pd.concat([TRACE_TABLES.read(traces / run, "accuracy").assign(run=run) for run in course.runs])
    values = {"rankme_eigen": float(np.exp(series.ln_rankme[-1])), "alpha": float(series.alpha[-1])}
    if len(accuracy):
        last = accuracy["step"] == accuracy.groupby("run")["step"].transform("max")
        values["accuracy"] = float(accuracy.loc[last, "accuracy"].mean())
    if failed := int((checkpoints["missing"] != "").sum()):
        values["failed_checkpoints"] = failed
    if repeated := int(checkpoints["same_as"].notna().sum()):
        values["repeated_weights"] = repeated
    return values


def summarise(
    courses: Sequence[Course], traces: Path, ngrams: Path, params: PhaseParams, confidence: float
) -> tuple[dict, dict[str, pd.DataFrame]]:
    """Return the metrics of all courses, and the tables of COLUMNS."""
    series = {course.name: read_series(course.runs, traces, params.headline) for course in courses}
    metrics: dict[str, dict] = {"final": {}, "phases": {}, "directions": {}, "memorization": {}}
    tables: dict[str, list[pd.DataFrame]] = {name: [] for name in COLUMNS}
    for course in courses:
        course_series = series[course.name]
        metrics["final"][course.name] = final_values(course, course_series, traces)
        if course.parent is None and len(course_series.steps) == 1:
            log.warning("%s is one checkpoint and makes no series: no phases", course.name)
        elif course.parent is None:
            metrics["phases"][course.name], table = phases_at_sites(course, traces, params, confidence)
            tables["phases"].append(table)
        elif course.parent in series:
            metrics["directions"][course.name], table = changes(
                course, course_series, series[course.parent], confidence
            )
            tables["directions"].append(table)
        else:
            log.warning("%s starts from %s, which is not followed: no direction of change", course.name, course.parent)
        if course.corpora:
            metrics["memorization"][course.name], parts = memorization(course, traces, ngrams, params, confidence)
            for name, table in parts.items():
                tables[name].append(table.assign(line=course.name))
    return metrics, {name: _joined(tables[name], list(columns)) for name, columns in COLUMNS.items()}


def _joined(parts: list[pd.DataFrame], columns: list[str]) -> pd.DataFrame:
    return pd.concat(parts, ignore_index=True)[columns] if parts else pd.DataFrame(columns=columns)


def phases_at_sites(course: Course, traces: Path, params: PhaseParams, confidence: float) -> tuple[dict, pd.DataFrame]:
    """Return the phases after the final norm and before it: metrics by site, and a row for each stretch."""
    metrics: dict[str, object] = {}
    rows: list[dict] = []
    for site in SITES:
        series = read_series(course.runs, traces, params.headline.model_copy(update={"site": site}))
        metrics[site], stretches = phase_metrics(course.name, series, params.draws, params.seed, confidence)
        rows += [row | {"site": site} for row in stretches]
    return metrics | {"scope": rows[0]["scope"]}, pd.DataFrame(rows)


def changes(course: Course, series: Series, parent: Series, confidence: float) -> tuple[dict, pd.DataFrame]:
    """Return the directions of change since the parent's end: metrics of ln_rankme and alpha, and a row for each."""
    directions = change_directions(series, parent, confidence)
    metrics = {
        measure: {"change": result.change, "low": result.low, "high": result.high, "label": result.label}
        for measure, result in directions.items()
    }
    rows = [
        {"line": course.name, "parent": course.parent, "measure": measure, **result._asdict()}
        for measure, result in directions.items()
    ]
    return metrics, pd.DataFrame(rows)


def memorization(
    course: Course, traces: Path, ngrams: Path, params: PhaseParams, confidence: float
) -> tuple[dict, dict[str, pd.DataFrame]]:
    """Return the correlations of the final likelihoods with the count in the corpus, and the tables of all runs."""
    tables: dict[str, list[pd.DataFrame]] = {"correlations": [], "support": [], "relations": []}
    for run, corpus in zip(course.runs, course.corpora, strict=True):
        support, answers = read_support(ngrams, corpus), TRACE_TABLES.read(traces / run, "answers")
        strata = likelihoods_by_stratum(answers, support, params.support)
        tables["correlations"].append(
            correlations(answers, support, params.half_samples, params.seed, confidence).assign(run=run)
        )
        tables["support"].append(strata.assign(run=run))
        series = read_series([run], traces, params.headline)  # a family's steps may differ from the mean's
        if len(series.steps) >= LEAST_CHECKPOINTS:
            tables["relations"].append(relations(strata, series).assign(run=run))
    joined = {name: pd.concat(parts, ignore_index=True) for name, parts in tables.items() if parts}
    return _final_correlations(joined["correlations"]), joined


def _final_correlations(correlations: pd.DataFrame) -> dict[str, float]:
    """Return the correlation with the count at the last step of each run, mean over families, for each kind of answer.

    Keys: rho_arbitrary, rho_inferable, or rho_all where kinds are not told apart.
    """
    last = correlations["step"] == correlations.groupby("run")["step"].transform("max")
    rows = correlations[last & (correlations["support"] == "count")].dropna(subset="rho")
    return {f"rho_{kind}": float(rho) for kind, rho in rows.groupby("kind")["rho"].mean().items()}


def read_support(ngrams: Path, corpus: str) -> pd.DataFrame:
    """Return the table of one corpus; raises TableError naming the file and its stage."""
    fix = f"rebuild it with `dvc repro {stage_of('trace-count', corpus, 'corpus')}`"
    source = FileSource("the counts of answers in a corpus", fix, TableError)
    return read_table(ngrams / f"{corpus}.parquet", source, corpus)
