"""RankMe and alpha of a run, or of one recipe over families, as series along training, with the errors they share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from stages.shared.tables import TableError
from stages.statistics.deviations import family_deviations
from stages.trace.params import Headline
from stages.trace.tables import TRACE_TABLES

RANKME, ALPHA = "rankme_eigen", "alpha"
# Beginnings of the variants of alpha other than the headline's.
ROBUST, LEGACY = "median", "legacy"
# Largest share by which steps of families may differ for an average: their last steps are a few apart.
STEPS_AGREE = 0.1


class Series(NamedTuple):
    """RankMe and alpha at the T checkpoints of a run or recipe; ``deviations`` (K, T) as `statistics.phases` takes them."""

    steps: np.ndarray
    tokens: np.ndarray
    """Tokens seen; NaN where not known."""
    ln_rankme: np.ndarray
    alpha: np.ndarray
    ln_rankme_deviations: np.ndarray
    alpha_deviations: np.ndarray
    families: int
    token_hash: str

    @property
    def x(self) -> np.ndarray:
        """Return ln of tokens, or of steps where tokens are not known; the untrained model lies at half of the first step."""
        time = self.steps.astype(float) if np.isnan(self.tokens).any() else self.tokens.astype(float)
        return np.log(np.where(time == 0, time[time > 0].min(initial=np.inf) / 2, time))


def read_series(runs: Sequence[str], root: Path, headline: Headline) -> Series:
    """Return the series of one run, its errors from half-samples of sequences; of several (families), from their differences.

    Raises TableError where families do not have the same checkpoints.
    """
    families = [_run_series(root / run, headline) for run in runs]
    if len(families) == 1:
        return families[0]
    steps = [series.steps for series in families]
    if len({len(s) for s in steps}) > 1 or any((np.abs(s - steps[0]) > STEPS_AGREE * steps[0]).any() for s in steps):
        raise TableError(
            f"{', '.join(runs)} have unlike checkpoints ({[s.tolist() for s in steps]}): families are averaged checkpoint "
            "by checkpoint; give them the same recipe"
        )
    ln_rankme = np.stack([series.ln_rankme for series in families])  # (F, T)
    alpha = np.stack([series.alpha for series in families])  # (F, T)
    return Series(
        steps=np.mean(steps, axis=0),
        tokens=np.mean([series.tokens for series in families], axis=0),
        ln_rankme=ln_rankme.mean(0),
        alpha=alpha.mean(0),
        ln_rankme_deviations=family_deviations(ln_rankme),
        alpha_deviations=family_deviations(alpha),
        families=len(families),
        token_hash=families[0].token_hash,
    )


def _run_series(folder: Path, headline: Headline) -> Series:
    """Return the series of one run without the checkpoints that failed, which their table names."""
    checkpoints = TRACE_TABLES.read(folder, "checkpoints")
    checkpoints = checkpoints[checkpoints["missing"] == ""]
    records, deviations = (
        headline_rows(TRACE_TABLES.read(folder, name), headline) for name in ("records", "deviations")
    )
    rankme, alpha = (_values(records, checkpoints, measure) for measure in (RANKME, ALPHA))
    return Series(
        steps=checkpoints["step"].to_numpy(),
        tokens=checkpoints["tokens"].to_numpy(float, na_value=np.nan),
        ln_rankme=np.log(rankme),
        alpha=alpha,
        ln_rankme_deviations=_deviations(deviations, checkpoints, RANKME) / rankme,
        alpha_deviations=_deviations(deviations, checkpoints, ALPHA),
        families=1,
        token_hash=checkpoints["token_hash"].iloc[0],
    )


def headline_rows(table: pd.DataFrame, headline: Headline) -> pd.DataFrame:
    """Return the rows of the headline's site and level at the last layer."""
    rows = table[(table["site"] == headline.site) & (table["level"] == headline.level)]
    return rows[rows["layer"] == rows["layer"].max()]


def is_headline(variant: pd.Series) -> pd.Series:
    """Return whether each variant is the one that speaks for its measure: neither the robust nor the legacy fit of alpha."""
    return ~variant.str.startswith((ROBUST, LEGACY))


def _values(records: pd.DataFrame, checkpoints: pd.DataFrame, measure: str) -> np.ndarray:
    rows = records[(records["measure"] == measure) & is_headline(records["variant"])].set_index("step")
    return rows.loc[checkpoints["step"], "value"].to_numpy()


def _deviations(deviations: pd.DataFrame, checkpoints: pd.DataFrame, measure: str) -> np.ndarray:
    rows = deviations[(deviations["measure"] == measure) & is_headline(deviations["variant"])]
    return rows.pivot(index="half", columns="step", values="value")[checkpoints["step"]].to_numpy()  # (K, T)
