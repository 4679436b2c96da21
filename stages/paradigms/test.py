"""Test the declared hypotheses on the records: python -m stages.paradigms.test."""

from __future__ import annotations

import logging
import math
from pathlib import Path

import pandas as pd

from stages.paradigms.hypotheses import assess
from stages.paradigms.params import Hypotheses, Measure
from stages.shared.command import run_stage
from stages.shared.files import SIGNIFICANT_DIGITS, atomic, write_json
from stages.shared.params import load
from stages.shared.study import Study

RECORDS, TRAINING = Path("data/records"), Path("metrics/train")
METRICS, TABLE = Path("metrics/test.json"), Path("plots/hypotheses.csv")
SHOWN = ("estimate", "low", "high", "p_holm", "verdict", "scope", "cohen_dz", "family_sd", "mixed_p", "mixed_note")
LEGACY = ("welch_p", "mann_whitney_p", "cohen_d", "decision")


def main() -> None:
    study = load("study", Study)
    rows = assess(load("hypotheses", Hypotheses), study, load("measure", Measure).headline_k, RECORDS, TRAINING)
    with atomic(TABLE) as temporary:
        columns = None if rows else ["hypothesis", "verdict"]  # a study may declare none
        pd.DataFrame(rows, columns=columns).to_csv(temporary, index=False, float_format=f"%.{SIGNIFICANT_DIGITS}g")
    write_json(METRICS, {row["hypothesis"]: leaves(row) for row in rows})
    for row in rows:
        logging.info("%s: %s", row["hypothesis"], row["verdict"])


def leaves(row: dict) -> dict:
    """The numbers of one hypothesis that a person compares between runs; the table has them all."""
    found = {name: row[name] for name in SHOWN if name in row and _told(row[name])}
    if _told(row.get("legacy_welch_p", math.nan)):
        legacy = {f"legacy_{name}" if name == "decision" else name: row[f"legacy_{name}"] for name in LEGACY}
        found["legacy_over_layers"] = legacy | {"pseudo_replicated": True}
    return found


def _told(value: float | str) -> bool:
    return value != "" if isinstance(value, str) else not math.isnan(value)


if __name__ == "__main__":
    run_stage(main, __doc__)
