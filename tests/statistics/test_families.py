"""Families as the sampled unit: closed forms, a simulated truth, and fits that must be refused."""

import numpy as np
import pytest

from stages.statistics.families import cohen_dz, mixed_model, paired_t

OPPOSITE = np.array([[1.0, -1.0], [-1.0, 1.0], [0.5, -0.5], [-0.5, 0.5], [0.2, -0.2], [-0.2, 0.2]])
"""What one task of a family gains the other loses: families do not differ at all."""


def cells(generator, families=8, tasks=3, mean=0.0, between=1.0, within=0.3):
    return (
        mean
        + between * generator.standard_normal((families, 1))
        + within * generator.standard_normal((families, tasks))
    )


def test_paired_t_is_scipys():
    from scipy.stats import ttest_1samp

    differences = np.random.default_rng(0).normal(0.4, 1, 7)
    expected = ttest_1samp(differences, 0)
    found = paired_t(differences, 0.9)
    assert found.p == pytest.approx(expected.pvalue)
    assert (found.low, found.high) == pytest.approx(tuple(expected.confidence_interval(0.9)))
    assert paired_t(np.zeros(3), 0.9).p == 1 and paired_t(np.ones(3), 0.9).p == 0


def test_dz_is_t_over_the_root_of_the_number_of_families():
    from scipy.stats import ttest_1samp

    differences = np.random.default_rng(0).normal(0.4, 1, 9)
    assert cohen_dz(differences) * 3 == pytest.approx(ttest_1samp(differences, 0).statistic)
    assert np.isnan(cohen_dz(np.ones(4)))


def test_in_balanced_data_the_mixed_model_gives_the_error_over_families():
    """With equally many tasks in every family its standard error is that of the family means: families count, not cells."""
    data = cells(np.random.default_rng(0), mean=1.5) + [-2.0, 0.0, 2.0]  # tasks differ, as they do
    found = mixed_model(data)
    assert found.note == ""
    assert found.estimate == pytest.approx(data.mean(), rel=1e-6)
    assert found.standard_error == pytest.approx(data.mean(axis=1).std(ddof=1) / np.sqrt(8), rel=1e-3)
    assert found.p < 0.01


def test_the_mixed_model_does_not_depend_on_units():
    data = cells(np.random.default_rng(1), mean=0.5)
    small, large = mixed_model(1e-4 * data), mixed_model(1e4 * data)
    assert small.p == pytest.approx(large.p, rel=1e-6) and 1e8 * small.estimate == pytest.approx(large.estimate)


def test_the_mixed_model_finds_what_is_there_and_seldom_what_is_not():
    generator = np.random.default_rng(2)
    null = [mixed_model(cells(generator)).p for _ in range(100)]
    there = [mixed_model(cells(generator, mean=2.0)).p for _ in range(20)]
    assert np.mean(np.array(null) < 0.05) < 0.2  # a Wald test of 8 families is liberal: about .09
    assert np.mean(np.array(there) < 0.05) > 0.9


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (np.random.default_rng(0).standard_normal((6, 1)), "2 families and 2 tasks, found 6 and 1"),
        (np.full((6, 3), 0.2), "all families have the same differences"),
        (np.tile([0.1, 0.2, 0.3], (6, 1)), "all families have the same differences"),
        (np.where(np.eye(6, 3) > 0, np.nan, 1.0), "no difference on one of the tasks"),
        (OPPOSITE + [0.1, 0.2], "on the boundary"),
    ],
)
def test_a_fit_that_cannot_be_trusted_says_why(data, reason):
    found = mixed_model(data)
    assert reason in found.note and found.note.startswith("no mixed-model check, the paired t-interval stands")
    assert np.isnan([found.estimate, found.standard_error, found.p]).all()


def test_a_fit_that_did_not_converge_is_refused(monkeypatch):
    from statsmodels.regression.mixed_linear_model import MixedLM

    whole = MixedLM.fit

    def cut_short(self, **options):
        fit = whole(self, **options)
        fit.converged = False
        return fit

    monkeypatch.setattr(MixedLM, "fit", cut_short)
    assert mixed_model(cells(np.random.default_rng(0))).note.endswith("the fit did not converge")
