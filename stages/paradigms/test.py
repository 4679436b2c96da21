"""Test the declared hypotheses on the records: python -m stages.paradigms.test."""

from __future__ import annotations

import logging
from pathlib import Path

import pandas as pd

from stages.paradigms.hypotheses import assess
from stages.paradigms.metrics import hypothesis_metrics
from stages.paradigms.params import Hypotheses, MeasureParams
from stages.shared.command import run_stage
from stages.shared.files import SIGNIFICANT_DIGITS, atomic, write_json
from stages.shared.params import load
from stages.shared.study import Study

RECORDS, TRAINING = Path("data/records"), Path("metrics/train")
METRICS, TABLE = Path("metrics/test.json"), Path("plots/hypotheses.csv")


def main() -> None:
    """Assess every hypothesis; write its numbers to the table, and the few that people compare to the metrics."""
    study, k = load("study", Study), load("measure", MeasureParams).headline_k
    rows = assess(load("hypotheses", Hypotheses), study, k, RECORDS, TRAINING)
    with atomic(TABLE) as temporary:
        columns = None if rows else ["hypothesis", "verdict"]  # a study may declare none
        pd.DataFrame(rows, columns=columns).to_csv(temporary, index=False, float_format=f"%.{SIGNIFICANT_DIGITS}g")
    write_json(METRICS, hypothesis_metrics(rows))
    for row in rows:
        logging.info("%s: %s", row["hypothesis"], row["verdict"])


if __name__ == "__main__":
    run_stage(main, __doc__)
