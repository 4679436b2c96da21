"""The few numbers of the trace study that a reader compares between commits, and the tables behind its figures."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from stages.models.names import stage_of
from stages.shared.tables import TableError
from stages.trace.lineage import Line
from stages.trace.memorization import by_support, correlations, relations
from stages.trace.params import Phases
from stages.trace.phases import LEAST_CHECKPOINTS, directions_of, phases_of
from stages.trace.series import Series, read_series
from stages.trace.tables import TRACE_TABLES

log = logging.getLogger(__name__)

SITES = ("final_norm", "resid_post")
"""Of the phases: what the head reads, and the raw residual stream."""
SLOPE = ("value", "standard_error", "low", "high")
COLUMNS = {
    "phases": (
        "line", "site", "stretch", "label", "from_step", "to_step", "scope", *(f"ln_rankme_slope_{key}" for key in SLOPE),
        *(f"alpha_slope_{key}" for key in SLOPE), "threshold", "p",
    ),
    "directions": ("line", "parent", "measure", "change", "standard_error", "low", "high", "label"),
    "correlations": ("line", "run", "kind", "support", "step", "rho", "low", "high", "n"),
    "support": ("line", "run", "kind", "stratum", "step", "log_likelihood", "standard_error", "greedy", "n"),
    "relations": ("line", "run", "kind", "stratum", "measure", "rho", "checkpoints"),
}  # fmt: skip
"""Of the tables, in order."""


def final_values(line: Line, series: Series, traces: Path) -> dict[str, float]:
    """Of the last checkpoint, means over families; and how many checkpoints failed or repeat another's weights."""
    checkpoints = pd.concat([TRACE_TABLES.read(traces / run, "checkpoints") for run in line.runs])
    accuracy = pd.concat([TRACE_TABLES.read(traces / run, "accuracy").assign(run=run) for run in line.runs])
    found = {"rankme_eigen": float(np.exp(series.ln_rankme[-1])), "alpha": float(series.alpha[-1])}
    if len(accuracy):
        last = accuracy["step"] == accuracy.groupby("run")["step"].transform("max")
        found["accuracy"] = float(accuracy.loc[last, "accuracy"].mean())
    if failed := int((checkpoints["missing"] != "").sum()):
        found["failed_checkpoints"] = failed
    if repeated := int(checkpoints["same_as"].notna().sum()):
        found["repeated_weights"] = repeated
    return found


def summarise(
    all_lines: Sequence[Line], traces: Path, ngrams: Path, params: Phases, confidence: float
) -> tuple[dict, dict[str, pd.DataFrame]]:
    """The metrics, and the tables of COLUMNS."""
    series = {line.name: read_series(line.runs, traces, params.headline) for line in all_lines}
    metrics: dict[str, dict] = {"final": {}, "phases": {}, "directions": {}, "memorization": {}}
    tables: dict[str, list[pd.DataFrame]] = {name: [] for name in COLUMNS}
    for line in all_lines:
        own = series[line.name]
        metrics["final"][line.name] = final_values(line, own, traces)
        if line.parent is None and len(own.steps) == 1:
            log.warning("%s is one checkpoint, a point without a course: no phases", line.name)
        elif line.parent is None:
            metrics["phases"][line.name], table = phases_at_sites(line, traces, params, confidence)
            tables["phases"].append(table)
        elif line.parent in series:
            metrics["directions"][line.name], table = changed(line, own, series[line.parent], confidence)
            tables["directions"].append(table)
        else:
            log.warning("%s starts from %s, which is not traced: no direction of change", line.name, line.parent)
        if line.corpora:
            metrics["memorization"][line.name], found = memorised(line, own, traces, ngrams, params, confidence)
            for name, table in found.items():
                tables[name].append(table.assign(line=line.name))
    return metrics, {name: _joined(tables[name], list(columns)) for name, columns in COLUMNS.items()}


def _joined(parts: list[pd.DataFrame], columns: list[str]) -> pd.DataFrame:
    return pd.concat(parts, ignore_index=True)[columns] if parts else pd.DataFrame(columns=columns)


def phases_at_sites(line: Line, traces: Path, params: Phases, confidence: float) -> tuple[dict, pd.DataFrame]:
    """Phases after the final norm and before it: metrics by site, and a row for each stretch."""
    metrics: dict[str, object] = {}
    rows: list[dict] = []
    for site in SITES:
        series = read_series(line.runs, traces, params.headline.model_copy(update={"site": site}))
        metrics[site], found = phases_of(line.name, series, params.draws, params.seed, confidence)
        rows += [row | {"site": site} for row in found]
    return metrics | {"scope": rows[0]["scope"]}, pd.DataFrame(rows)


def changed(line: Line, series: Series, parent: Series, confidence: float) -> tuple[dict, pd.DataFrame]:
    """Directions of change since the parent's end: metrics, and a row for each measure."""
    found = directions_of(series, parent, confidence)
    rows = [{"line": line.name, "parent": line.parent, "measure": name, **one._asdict()} for name, one in found.items()]
    keys = ("change", "low", "high", "label")
    return {name: {key: getattr(one, key) for key in keys} for name, one in found.items()}, pd.DataFrame(rows)


def memorised(
    line: Line, series: Series, traces: Path, ngrams: Path, params: Phases, confidence: float
) -> tuple[dict, dict[str, pd.DataFrame]]:
    """Correlations of the final likelihoods with the count in the corpus, and the tables of each run."""
    tables: dict[str, list[pd.DataFrame]] = {"correlations": [], "support": [], "relations": []}
    for run, corpus in zip(line.runs, line.corpora, strict=True):
        support, answers = read_support(ngrams, corpus), TRACE_TABLES.read(traces / run, "answers")
        strata = by_support(answers, support, params.support)
        tables["correlations"].append(
            correlations(answers, support, params.half_samples, params.seed, confidence).assign(run=run)
        )
        tables["support"].append(strata.assign(run=run))
        if len(series.steps) >= LEAST_CHECKPOINTS:
            own = read_series([run], traces, params.headline)  # a family's steps may differ from the mean's
            tables["relations"].append(relations(strata, own).assign(run=run))
    found = {name: pd.concat(parts, ignore_index=True) for name, parts in tables.items() if parts}
    return _final_correlations(found["correlations"]), found


def _final_correlations(correlations: pd.DataFrame) -> dict[str, float]:
    """By kind: the correlation with the count at the last step of each run, mean over families."""
    last = correlations["step"] == correlations.groupby("run")["step"].transform("max")
    rows = correlations[last & (correlations["support"] == "count")].dropna(subset="rho")
    return {f"rho_{kind}": float(rho) for kind, rho in rows.groupby("kind")["rho"].mean().items()}


def read_support(ngrams: Path, corpus: str) -> pd.DataFrame:
    """The table of one corpus; raises TableError naming the file and its stage."""
    path = ngrams / f"{corpus}.parquet"
    if not path.is_file():
        raise TableError(f"{path} not found: run `dvc repro {stage_of('trace-count', corpus, 'corpus')}`")
    return pd.read_parquet(path)
