"""How likelihood follows support: planted memory is found, none is not, strata and relations by hand."""

import numpy as np
import pandas as pd
import pytest

from stages.trace.memorization import correlations, likelihoods_by_stratum, relations, stratum
from stages.trace.series import Series

COUNTS = [0] * 10 + [2] * 10 + [20] * 10 + [200] * 10


def support(kind="arbitrary", probability=None):
    ids = [f"{kind}{i}" for i in range(40)]
    return pd.DataFrame(
        {"id": ids, "kind": kind, "count": COUNTS, "probability": probability or [c / 200 for c in COUNTS]}
    )


def answers(strength, kind="arbitrary", seed=0):
    """Log-likelihoods at the steps 0 (no memory) and 10 (``strength`` x ln(1 + count) over noise of sd 1)."""
    noise = np.random.default_rng(seed).standard_normal((2, 40))
    rows = []
    for place, step in enumerate((0, 10)):
        values = -10 + noise[place] + place * strength * np.log1p(COUNTS)
        ids = [f"{kind}{i}" for i in range(40)]
        rows.append(pd.DataFrame({"step": step, "id": ids, "log_likelihood": values, "greedy": values > -6}))
    return pd.concat(rows, ignore_index=True)


def test_memory_is_found_where_it_was_planted_and_only_there():
    found = correlations(answers(2.0), support(), 60, 0, 0.95).set_index(["support", "step"])
    assert found.loc[("count", 10), "low"] > 0.7
    assert found.loc[("count", 0), "low"] < 0 < found.loc[("count", 0), "high"]
    assert (found["n"] == 40).all()


def test_without_memory_the_interval_holds_zero_in_most_draws():
    draws = [correlations(answers(0.0, seed=s), support(), 60, 0, 0.95) for s in range(40)]
    rows = pd.concat(draws).query("support == 'count' and step == 10")
    assert ((rows["low"] <= 0) & (rows["high"] >= 0)).mean() >= 0.85


def test_kinds_are_kept_apart():
    """Pooled, two kinds of different level would correlate without any memory."""
    both = pd.concat(
        [answers(0.0), answers(0.0, "inferable", 1).assign(log_likelihood=lambda t: t["log_likelihood"] + 8)]
    )
    known = pd.concat([support(), support("inferable").assign(count=500)])
    found = correlations(both, known, 60, 0, 0.95)
    arbitrary = found.query("kind == 'arbitrary' and support == 'count' and step == 10").iloc[0]
    assert arbitrary["low"] < 0 < arbitrary["high"]
    # all inferable answers have the same count: there is no correlation to speak of
    assert found.query("kind == 'inferable' and support == 'count'")["rho"].isna().all()


def test_answers_without_a_kind_are_one_group():
    found = correlations(answers(2.0), support().assign(kind=None), 60, 0, 0.95)
    assert set(found["kind"]) == {"all"}


@pytest.mark.parametrize(
    ("count", "name"), [(0, "0"), (1, "1-9"), (9, "1-9"), (10, "10-99"), (99, "10-99"), (100, "100+"), (5000, "100+")]
)
def test_strata_have_the_names_of_their_bounds(count, name):
    assert stratum(count, [1, 10, 100]) == name


def test_strata_from_a_higher_bound():
    assert [stratum(count, [5, 50]) for count in (0, 4, 5, 49, 50)] == ["0-4", "0-4", "5-49", "5-49", "50+"]


def test_strata_are_means_over_their_answers():
    found = likelihoods_by_stratum(answers(2.0), support(), [1, 10, 100])
    last = found[found["step"] == 10].set_index("stratum")
    assert list(last.index) == ["0", "1-9", "10-99", "100+"] and (last["n"] == 10).all()
    assert last["log_likelihood"].is_monotonic_increasing
    own = answers(2.0).query("step == 10")["log_likelihood"].to_numpy()[10:20]
    assert last.loc["1-9", "log_likelihood"] == pytest.approx(own.mean())
    assert last.loc["1-9", "standard_error"] == pytest.approx(own.std(ddof=1) / np.sqrt(10))
    assert last.loc["100+", "greedy"] == 1


def test_relations_follow_the_course_of_training():
    steps = np.array([0, 1, 2, 3])
    series = Series(
        steps, np.full(4, np.nan), np.array([3.0, 1, 2, 4]), np.array([1.0, 4, 3, 0]), np.zeros((7, 4)), np.zeros((7, 4)), 1, ""
    )  # fmt: skip
    strata = pd.DataFrame({"kind": "arbitrary", "stratum": "1-9", "step": steps, "log_likelihood": [-3.0, -9, -5, -1]})
    found = relations(strata, series).set_index("measure")
    assert found.loc["ln_rankme", "rho"] == pytest.approx(1) and found.loc["alpha", "rho"] == pytest.approx(-1)
    assert (found["checkpoints"] == 4).all()
