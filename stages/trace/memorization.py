"""How the likelihood of answers follows their support in the corpus, checkpoint by checkpoint."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from stages.statistics.half_sampling import partitions_for
from stages.statistics.rank_correlation import rank_correlation, spearman
from stages.trace.series import Series

# The two measures of support: occurrences of prompt and answer in the corpus, and the answer's infinity-gram probability.
SUPPORT = ("count", "probability")
UNKNOWN_KIND = "all"


def correlations(
    answers: pd.DataFrame, support: pd.DataFrame, half_samples: int, seed: int, confidence: float
) -> pd.DataFrame:
    """Return Spearman's correlation of log-likelihood with support at every step, for each kind of answer apart.

    ``answers``: step, id, log_likelihood; ``support``: id, kind, count, probability. Columns: kind, support, step, rho,
    low, high, n. Only ranks compare, because the two models may see other tokens. NaN where all answers of a kind have
    the same support.
    """
    rows = []
    for kind, items in support.assign(kind=support["kind"].fillna(UNKNOWN_KIND)).groupby("kind", sort=True):
        table = answers[answers["id"].isin(items["id"])].pivot(index="step", columns="id", values="log_likelihood")
        for measure in SUPPORT:
            values = items.set_index("id").loc[table.columns, measure].to_numpy(float)
            result = rank_correlation(table.to_numpy(), values, partitions_for(half_samples), seed, confidence)
            columns = {"kind": kind, "support": measure, "step": table.index, "rho": result.rho}
            columns |= {"low": result.low, "high": result.high, "n": len(items)}
            rows.append(pd.DataFrame(columns))
    return pd.concat(rows, ignore_index=True)


def stratum(count: int, bounds: Sequence[int]) -> str:
    """Return the name of the stratum of ``count``: 0, 1-9, 10-99, 100+ for the bounds 1, 10, 100."""
    if count < bounds[0]:
        return "0" if bounds[0] == 1 else f"0-{bounds[0] - 1}"
    index = int(np.searchsorted(bounds, count, side="right")) - 1
    return f"{bounds[index]}+" if index == len(bounds) - 1 else f"{bounds[index]}-{bounds[index + 1] - 1}"


def likelihoods_by_stratum(answers: pd.DataFrame, support: pd.DataFrame, bounds: Sequence[int]) -> pd.DataFrame:
    """Return mean log-likelihood and share of greedy answers by kind and stratum of support, at every step.

    Columns: kind, stratum, step, log_likelihood, standard_error (over answers), greedy, n.
    """
    strata = support.assign(
        kind=support["kind"].fillna(UNKNOWN_KIND), stratum=[stratum(count, bounds) for count in support["count"]]
    )
    joined = answers.merge(strata[["id", "kind", "stratum", "count"]], on="id", validate="many_to_one")
    order = joined.groupby(["kind", "stratum"])["count"].transform("min")
    groups = joined.assign(order=order).groupby(["kind", "order", "stratum", "step"])
    table = groups.agg(
        log_likelihood=("log_likelihood", "mean"),
        standard_error=("log_likelihood", "sem"),
        greedy=("greedy", "mean"),
        n=("id", "size"),
    )
    return table.reset_index().drop(columns="order")


def relations(strata: pd.DataFrame, series: Series) -> pd.DataFrame:
    """Return Spearman's correlation over checkpoints between the log-likelihood of each stratum and ln RankMe, and alpha.

    It describes one course of training: checkpoints depend on each other, so there is no interval.
    Columns: kind, stratum, measure, rho, checkpoints.
    """
    rows = []
    for (kind, name), part in strata.groupby(["kind", "stratum"], sort=False):
        likelihoods = part.set_index("step")["log_likelihood"].reindex(series.steps).to_numpy()
        for measure in ("ln_rankme", "alpha"):
            rho = float(spearman(getattr(series, measure), likelihoods))
            rows.append(
                {"kind": kind, "stratum": name, "measure": measure, "rho": rho, "checkpoints": len(likelihoods)}
            )
    return pd.DataFrame(rows)
