"""Comparisons over seeds find a planted difference and no other; targets are met or not by what was measured."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import yaml

from stages.concepts.autoencoder_params import Autoencoders
from stages.concepts.metrics import comparisons, per_seed, targets
from tests.support.project import ROOT

PARAMS = Autoencoders(**yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))["autoencoders"])
SEEDS = 8


def quality(purity: float = 0.3, leakage: float = -0.1, explained: float = 0.0, spread: float = 0.05) -> pd.DataFrame:
    """Teacher over random by so much; seeds differ, alike in both."""
    generator = np.random.default_rng(0)
    rows = []
    for seed in range(SEEDS):
        common = generator.normal(0, spread)
        for variant, sign in (("random", 0.0), ("teacher", 1.0)):
            for measure, base, more in (
                ("purity", 0.4, purity),
                ("leakage", 0.3, leakage),
                ("explained", 0.8, explained),
            ):
                value = base + common + sign * more + generator.normal(0, 0.005)
                rows += [{"variant": variant, "model": "base-s0", "noise": 0.0, "seed": seed, "on": "base-s0",
                          "measure": measure, "kind": kind, "value": value} for kind in ("a", "b")]  # fmt: skip
    return pd.DataFrame(rows)


def steering() -> pd.DataFrame:
    columns = ["variant", "noise", "seed", "chosen", "level", "strength", "on_target"]
    return pd.DataFrame([["random", 0.0, 0, "writes", "parent", 1.0, 0.2]], columns=columns)


def compared(**changes) -> list[dict]:
    return list(comparisons(per_seed(quality(**changes), steering(), "base-s0"), PARAMS, 0.95))


def of(rows: list[dict], measure: str) -> dict:
    return next(row for row in rows if row["comparison"] == "teacher_start" and row["measure"] == measure)


def test_a_planted_difference_is_found_inside_its_interval_and_an_absent_one_is_not():
    rows = compared()
    assert of(rows, "purity")["p_holm"] < 0.001 and of(rows, "purity")["low"] < 0.3 < of(rows, "purity")["high"]
    assert of(rows, "explained")["p_holm"] > 0.05 and of(rows, "explained")["low"] < 0 < of(rows, "explained")["high"]


def test_pairing_takes_out_what_seeds_have_in_common():
    wide = of(compared(spread=0.5), "purity")
    assert wide["high"] - wide["low"] < 0.05


def test_comparisons_without_both_sides_are_left_out():
    assert {row["comparison"] for row in compared()} == {"teacher_start"}


@pytest.mark.parametrize(
    ("changes", "met"),
    [
        ({}, {"purity": True, "leakage": True, "unexplained": True}),
        ({"purity": 0.05}, {"purity": False, "leakage": True, "unexplained": True}),
        ({"leakage": -0.03}, {"purity": True, "leakage": False, "unexplained": True}),
        ({"explained": -0.1}, {"purity": True, "leakage": True, "unexplained": False}),
    ],
)
def test_targets_are_met_by_what_was_measured(changes, met):
    found = targets(compared(**changes), PARAMS)
    assert {name: row["met"] for name, row in found.items()} == met


def test_without_the_comparison_there_are_no_targets():
    assert targets([], PARAMS) == {}
