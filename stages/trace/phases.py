"""Phases of pretraining runs, and directions of change of the runs that start from them."""

from __future__ import annotations

from stages.shared.tables import TableError
from stages.statistics.phases import Direction, detect, direction, turn_interval
from stages.trace.series import Series

LEAST_CHECKPOINTS = 8
"""Fewer make no phases."""


def scope(series: Series) -> str:
    """What the labels speak of: sequences are resampled, so that one run's intervals hold no training noise."""
    if series.families == 1:
        return "local: one run, intervals over sequences only"
    return f"{series.families} families, intervals over families"


def phases_of(line: str, series: Series, draws: int, seed: int, confidence: float) -> tuple[dict, list[dict]]:
    """Headline numbers of the phases of one line, and a row for each stretch.

    Raises TableError on fewer checkpoints than make a phase.
    """
    if len(series.steps) < LEAST_CHECKPOINTS:
        raise TableError(
            f"{line} has {len(series.steps)} checkpoints, phases need {LEAST_CHECKPOINTS}: raise trace.checkpoints"
        )
    found = detect(
        series.x, series.ln_rankme, series.alpha, series.ln_rankme_deviations, series.alpha_deviations, draws, seed, confidence
    )  # fmt: skip
    steps = [int(round(step)) for step in series.steps]
    rows = [
        {
            "line": line, "stretch": place, "label": one.label, "from_step": steps[one.first], "to_step": steps[one.last],
            "scope": scope(series),
            **{f"{name}_{key}": value for name, slope in (("ln_rankme_slope", one.rankme), ("alpha_slope", one.alpha))
               for key, value in slope._asdict().items()},
            "threshold": found.threshold, "p": found.p,
        }
        for place, one in enumerate(found.stretches, 1)
    ]  # fmt: skip
    stretches = {str(row["stretch"]): f"{row['label']}, steps {row['from_step']} to {row['to_step']}" for row in rows}
    turns = {}
    for place, (index, kind, prominence) in enumerate(zip(*found.turns, strict=True), 1):
        first, last = turn_interval(series.ln_rankme, series.ln_rankme_deviations, index, confidence)
        turns[f"{place}_{kind}"] = {
            "step": steps[index], "low": steps[first], "high": steps[last], "prominence": float(prominence)
        }  # fmt: skip
    return {"p": found.p, "stretches": stretches} | ({"turns": turns} if turns else {}), rows


def directions_of(run: Series, parent: Series, confidence: float) -> dict[str, Direction]:
    """Change of ln RankMe and of alpha from the last checkpoint of ``parent`` to the last of ``run``.

    Raises TableError where the two were not shown the same tokens.
    """
    if run.token_hash != parent.token_hash:
        raise TableError(
            f"the run was shown other tokens than its parent ({run.token_hash[:12]}, {parent.token_hash[:12]}): give both "
            "the same tokenizer in data/registry/runs.yaml, and trace both again"
        )
    return {
        name: direction(*(float(getattr(s, name)[-1]) for s in (parent, run)),
                        *(getattr(s, f"{name}_deviations")[:, -1] for s in (parent, run)), confidence)
        for name in ("ln_rankme", "alpha")
    }  # fmt: skip
