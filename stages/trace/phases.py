"""Phases of pretraining runs, and directions of change of the runs that start from them."""

from __future__ import annotations

from stages.shared.tables import TableError
from stages.statistics.phases import Direction, MeasuredSeries, detect_phases, direction, turn_interval
from stages.trace.series import Series

# The least number of checkpoints that make phases.
LEAST_CHECKPOINTS = 8


def scope(series: Series) -> str:
    """Return what the labels speak of: sequences are resampled, so that one run's intervals hold no training noise."""
    if series.families == 1:
        return "local: one run, intervals over sequences only"
    return f"{series.families} families, intervals over families"


def phase_metrics(course: str, series: Series, draws: int, seed: int, confidence: float) -> tuple[dict, list[dict]]:
    """Return the metrics of the phases of one course, and a row for each stretch.

    Metrics: ``p``; ``stretches``, each by its number, "1", "2", ..., with label and steps; and, where there are any,
    ``turns`` by number and kind, "1_minimum", "2_maximum", ..., with ``step``, ``low``, ``high`` and ``prominence``.
    Raises TableError on fewer checkpoints than make a phase.
    """
    if len(series.steps) < LEAST_CHECKPOINTS:
        raise TableError(
            f"{course} has {len(series.steps)} checkpoints, phases need {LEAST_CHECKPOINTS}: raise trace.checkpoints"
        )
    phases = detect_phases(
        series.x,
        MeasuredSeries(series.ln_rankme, series.ln_rankme_deviations),
        MeasuredSeries(series.alpha, series.alpha_deviations),
        draws,
        seed,
        confidence,
    )
    steps = [int(round(step)) for step in series.steps]
    rows = [
        {
            "line": course,
            "stretch": number,
            "label": stretch.label,
            "from_step": steps[stretch.first],
            "to_step": steps[stretch.last],
            "scope": scope(series),
            **{f"ln_rankme_slope_{key}": value for key, value in stretch.rankme._asdict().items()},
            **{f"alpha_slope_{key}": value for key, value in stretch.alpha._asdict().items()},
            "threshold": phases.threshold,
            "p": phases.p,
        }
        for number, stretch in enumerate(phases.stretches, 1)
    ]
    stretches = {str(row["stretch"]): f"{row['label']}, steps {row['from_step']} to {row['to_step']}" for row in rows}
    turns = {}
    for number, (index, kind, prominence) in enumerate(zip(*phases.turns, strict=True), 1):
        first, last = turn_interval(series.ln_rankme, series.ln_rankme_deviations, index, confidence)
        turns[f"{number}_{kind}"] = {
            "step": steps[index],
            "low": steps[first],
            "high": steps[last],
            "prominence": float(prominence),
        }
    return {"p": phases.p, "stretches": stretches} | ({"turns": turns} if turns else {}), rows


def change_directions(run: Series, parent: Series, confidence: float) -> dict[str, Direction]:
    """Return the change of ln RankMe and of alpha from the last checkpoint of ``parent`` to the last of ``run``.

    Raises TableError where the two were not shown the same tokens.
    """
    if run.token_hash != parent.token_hash:
        raise TableError(
            f"the run was shown other tokens than its parent ({run.token_hash[:12]}, {parent.token_hash[:12]}): give both "
            "the same tokenizer in data/registry/runs.yaml, and trace both again"
        )
    return {
        "ln_rankme": direction(
            float(parent.ln_rankme[-1]),
            float(run.ln_rankme[-1]),
            parent.ln_rankme_deviations[:, -1],
            run.ln_rankme_deviations[:, -1],
            confidence,
        ),
        "alpha": direction(
            float(parent.alpha[-1]),
            float(run.alpha[-1]),
            parent.alpha_deviations[:, -1],
            run.alpha_deviations[:, -1],
            confidence,
        ),
    }
