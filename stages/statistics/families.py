"""Differences between two paradigms with replicate families as the sampled unit."""

from __future__ import annotations

import warnings
from typing import NamedTuple

import numpy as np


class PairedT(NamedTuple):
    """The t-interval of a mean difference, Student's, and its two-sided p."""

    standard_error: float
    low: float
    high: float
    p: float


def paired_t(differences: np.ndarray, confidence: float) -> PairedT:
    """Return Student's t-interval of the mean of ``differences`` (families,), and its two-sided p.

    mean ± t sd / √families, in the units of the differences. Needs 2 families.
    """
    from scipy.stats import t  # not above: half a second that studies of fewer families need not wait

    mean, freedom = differences.mean(), len(differences) - 1
    error = differences.std(ddof=1) / np.sqrt(len(differences))
    reach = t.ppf(0.5 + confidence / 2, freedom) * error
    p = float(2 * t.sf(abs(mean) / error, freedom)) if error else float(mean == 0)
    return PairedT(float(error), float(mean - reach), float(mean + reach), p)


def cohen_dz(differences: np.ndarray) -> float:
    """Return d_z = mean / sd of ``differences`` (families,), the effect size of paired differences; t = d_z √families.

    In units of how much a family's difference varies; it does not shrink with the number of families. NaN where they do
    not vary. Source: Cohen 1988; the name, Lakens 2013.
    """
    spread = differences.std(ddof=1)
    return float(differences.mean() / spread) if spread > 0 else float("nan")


BOUNDARY = "the fit ended on the boundary: families vary no more than their tasks do"


class MixedModel(NamedTuple):
    """A second opinion on the paired t-interval; NaN with a note where there is none."""

    estimate: float
    standard_error: float
    p: float
    note: str


def mixed_model(cells: np.ndarray) -> MixedModel:
    """Return the mean of ``cells`` (families, tasks), differences, in a mixed model with a random intercept a family.

    difference_ft = mean + task_t + family_f + noise_ft, restricted maximum likelihood, Wald p of the mean; tasks are
    the same in every family, hence fixed, and sum to 0. When tasks of a family vary together, families count; the Wald
    p takes no account of few families, so that the t-interval decides and this stands beside it. No estimate, but a
    note, on fits that did not converge or ended on the boundary (no variance between families, where the model takes
    every task for a family of its own). In the units of the differences. Source: Laird & Ware 1982.
    """
    from statsmodels.regression.mixed_linear_model import MixedLM

    families, tasks = cells.shape
    if families < 2 or tasks < 2:
        return _no_check(f"a random intercept needs 2 families and 2 tasks, found {families} and {tasks}")
    if not np.isfinite(cells).all():
        return _no_check("a family has no difference on one of the tasks")
    scale = (cells - cells.mean(axis=0)).std()
    if scale <= 1e-12 * np.abs(cells).max():
        return _no_check("all families have the same differences")
    coded = np.concatenate([np.eye(tasks - 1), -np.ones((1, tasks - 1))])  # (tasks, tasks - 1), columns sum to 0
    design = np.tile(np.column_stack([np.ones(tasks), coded]), (families, 1))
    groups = np.repeat(np.arange(families), tasks)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what they say is read off the fit below
        try:  # in units of the spread: the optimiser's tolerances are absolute
            fit = MixedLM(cells.ravel() / scale, design, groups).fit(reml=True, method=["lbfgs", "powell"])
        except np.linalg.LinAlgError:  # the design has full rank: what is singular is the variance between families
            return _no_check(BOUNDARY)
    if fit.cov_re[0, 0] < 1e-4 * fit.scale:
        return _no_check(BOUNDARY)
    if not fit.converged:
        return _no_check("the fit did not converge")
    if not np.isfinite(fit.bse_fe[0]):
        return _no_check("the fit has no standard error")
    return MixedModel(float(fit.fe_params[0] * scale), float(fit.bse_fe[0] * scale), float(fit.pvalues[0]), "")


def _no_check(reason: str) -> MixedModel:
    nan = float("nan")
    return MixedModel(nan, nan, nan, f"no mixed-model check, the paired t-interval stands: {reason}")
