"""Every verdict has an interval that it must accept and one that it must reject."""

import pytest

from stages.statistics.verdict import holm, scope, verdict

MARGINS = (0.20, 0.10, 0.05)


@pytest.mark.parametrize(
    ("low", "high", "p", "word"),
    [
        (0.21, 0.40, 1e-9, "strong"),
        (0.19, 0.40, 1e-9, "moderate"),
        (0.21, 0.40, 0.20, "undecided"),  # corrected p says no
        (0.09, 0.30, 1e-3, "undecided"),
        (0.06, 0.09, 1e-9, "undecided"),  # surely there, too small for a margin
        (-0.04, 0.05, 0.8, "equivalent"),
        (0.01, 0.03, 1e-9, "equivalent"),  # surely there, and negligible
        (-0.06, 0.04, 0.8, "undecided"),
        (-0.30, -0.10, 1e-9, "reversed"),
        (-0.30, -0.09, 1e-3, "undecided"),
        (-0.30, -0.10, 0.20, "undecided"),
    ],
)
def test_verdicts(low, high, p, word):
    assert verdict(low, high, p, MARGINS, 0.05) == word


def test_holm():
    assert holm([0.01, 0.04, 0.03]).tolist() == pytest.approx([0.03, 0.06, 0.06])
    assert holm([]).size == 0


def test_scope_speaks_of_paradigms_only_with_enough_families():
    assert scope(1, 6).startswith("of these two models")
    assert scope(5, 6).startswith("of these 10 models")
    assert scope(6, 6).startswith("of the paradigms")
