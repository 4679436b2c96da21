"""Everything that the figures of traced training read, and which lines make one course of training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from stages.trace.lineage import Line
from stages.trace.params import Headline
from stages.trace.series import Series, read_series
from stages.trace.tables import TRACE_TABLES

COLUMNS = {
    "phases": ["line", "site", "stretch", "label", "from_step", "to_step", "scope", "p"],
    "directions": ["line", "parent", "measure", "change", "low", "high", "label"],
    "correlations": ["line", "run", "kind", "support", "step", "rho", "low", "high", "n"],
    "support": ["line", "run", "kind", "stratum", "step", "log_likelihood", "standard_error", "greedy", "n"],
}
"""Of the tables of the stage phases, what the figures use."""


NOT_TRACED = "No training run is traced: name organisms or runs under `trace` in params.yaml."
"""What a figure without any line says."""


class TraceFigureError(ValueError):
    """A table is missing; the message names the file and the stage that writes it."""


class Traced(NamedTuple):
    """One line and its tables, those of all runs in one, with the column `run`; without the checkpoints that failed."""

    line: Line
    series: Series
    """mean over families"""
    families: tuple[Series, ...]
    checkpoints: pd.DataFrame
    failed: int
    """Checkpoints without measurements, of all runs."""
    records: pd.DataFrame
    accuracy: pd.DataFrame
    rarefaction: pd.DataFrame


class Inputs(NamedTuple):
    lines: dict[str, Traced]
    phases: pd.DataFrame
    directions: pd.DataFrame
    correlations: pd.DataFrame
    support: pd.DataFrame
    headline: Headline
    confidence: float


def read_inputs(
    lines: Sequence[Line], traces: Path, tables: Path, headline: Headline, confidence: float
) -> Inputs:  # fmt: skip
    """Of exactly the given lines. Raises TraceFigureError or TableError, naming the file that is missing and its stage."""
    found = {name: _read_table(tables / f"{name}.csv", columns) for name, columns in COLUMNS.items()}
    found["phases"] = found["phases"][found["phases"]["site"] == headline.site]
    for name in ("correlations", "support"):  # of the first family: each has a corpus of its own
        found[name] = found[name][found[name]["run"].isin([line.runs[0] for line in lines])]
    return Inputs(
        {line.name: _traced(line, traces, headline) for line in lines},
        **found,
        headline=headline,
        confidence=confidence,
    )


def course(lines: dict[str, Traced]) -> list[Traced]:
    """The training from scratch with the most lines that descend from it, and these, each behind its parent's.

    A line whose parent is not traced is taken for a beginning where nothing was trained from scratch. Empty without any line.
    """
    beginnings = [one for one in lines.values() if one.line.parent is None] or [
        one for one in lines.values() if one.line.parent not in lines
    ]
    return max((_with_descendants(one, lines) for one in beginnings), key=len, default=[])


def reach(deviations: np.ndarray, confidence: float) -> np.ndarray:
    """Half the width (T,) of Student's interval at ``confidence`` from ``deviations`` (K, T), K degrees of freedom."""
    from scipy.stats import t

    return float(t.ppf(0.5 + confidence / 2, len(deviations))) * np.sqrt((deviations**2).mean(axis=0))


def mean_of_families(rows: pd.DataFrame, keys: list[str], values: list[str]) -> pd.DataFrame:
    """Means over runs of ``values`` by ``keys`` and checkpoint, the first, second, ... of each run: ``rows`` with `run` and
    `step` become rows with the mean step, rounded."""
    checkpoint = rows.groupby("run")["step"].rank(method="dense").astype(int)
    means = rows.assign(checkpoint=checkpoint).groupby([*keys, "checkpoint"], sort=False)[["step", *values]].mean()
    return means.reset_index().assign(step=lambda table: table["step"].round().astype(int))


def time_of(series: Series) -> pd.DataFrame:
    """Step, rounded as in the tables of phases, and tokens, not known ones empty, of each checkpoint."""
    return pd.DataFrame({"step": np.rint(series.steps).astype(int), "tokens": series.tokens})


def where(headline: Headline) -> str:
    """The headline's place in words, for the beginning of a sentence."""
    level = "Content tokens" if headline.level == "token" else "Last tokens of the sequences"
    return f"{level} {'after the final norm' if headline.site == 'final_norm' else 'at the last layer, before the final norm'}"


def failures(found: Sequence[Traced]) -> str:
    """A sentence on the checkpoints that are missing, empty without any."""
    failed = [f"{one.failed} of {one.line.name}" for one in found if one.failed]
    return f" Checkpoints that failed are left out: {', '.join(failed)}." if failed else ""


def _with_descendants(first: Traced, lines: dict[str, Traced]) -> list[Traced]:
    found = [first]
    for one in found:
        found += [child for child in lines.values() if child.line.parent == one.line.name]
    return found


def _traced(line: Line, traces: Path, headline: Headline) -> Traced:
    tables = {
        name: pd.concat([TRACE_TABLES.read(traces / run, name).assign(run=run) for run in line.runs], ignore_index=True)
        for name in ("checkpoints", "records", "accuracy", "rarefaction")
    }
    sound = tables["checkpoints"]["missing"] == ""
    tables["checkpoints"] = tables["checkpoints"][sound]
    families = tuple(read_series([run], traces, headline) for run in line.runs)
    return Traced(line, read_series(line.runs, traces, headline), families, failed=int((~sound).sum()), **tables)


def _read_table(path: Path, columns: list[str]) -> pd.DataFrame:
    if not path.is_file():
        raise TraceFigureError(f"{path} not found: run `dvc repro phases`")
    return pd.read_csv(path, dtype={"stratum": str})[columns]
