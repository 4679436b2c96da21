"""The committed result over six families is that of the declared hypotheses, and its verdicts follow from its intervals."""

import json

import pytest

from stages.paradigms.params import Hypotheses
from stages.shared.params import load
from stages.statistics.verdict import verdict
from tests.support.project import ROOT

DECLARED = load("hypotheses", Hypotheses, ROOT / "params.yaml")
TRACED = json.loads((ROOT / "metrics/families/trace.json").read_text())
FOUND = json.loads((ROOT / "metrics/families/test.json").read_text())


def test_it_has_every_declared_hypothesis():
    assert set(FOUND) == {hypothesis.name for hypothesis in DECLARED.declared}


@pytest.mark.parametrize("name", FOUND)
def test_verdicts_speak_of_paradigms_and_follow_from_the_interval(name):
    row, margins = FOUND[name], DECLARED.margins
    assert row["scope"] == "of the paradigms: a paired t-interval over 6 families"
    assert row["low"] <= row["estimate"] <= row["high"]
    if not row["verdict"].startswith("not decided"):
        limits = (margins.strong, margins.moderate, margins.equivalent)
        assert row["verdict"] == verdict(row["low"], row["high"], row["p_holm"], limits, DECLARED.alpha)


def test_traced_directions_follow_from_their_intervals_over_families():
    assert TRACED["phases"]["base"]["scope"] == "6 families, intervals over families"
    for measures in TRACED["directions"].values():
        for one in measures.values():
            sign = (one["low"] > 0) - (one["high"] < 0)
            assert one["label"] == {1: "up", -1: "down", 0: "undecided"}[sign]
            assert one["low"] <= one["change"] <= one["high"]
