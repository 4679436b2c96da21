"""RankMe and alpha of a run, or of one recipe over families, as series along training, with the errors they share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from stages.shared.tables import TableError
from stages.statistics.phases import family_deviations
from stages.trace.params import Headline
from stages.trace.tables import TRACE_TABLES

RANKME, ALPHA = "rankme_eigen", "alpha"
ROBUST, LEGACY = "median", "legacy"
"""Beginnings of the variants of alpha beside the headline's."""
STEPS_AGREE = 0.1
"""Families are put side by side where their steps differ by this share at most: the last step is a few apart."""


class Series(NamedTuple):
    """T checkpoints of a recipe; ``deviations`` (K, T) as `statistics.phases` wants them."""

    steps: np.ndarray
    tokens: np.ndarray
    """NaN where not known"""
    ln_rankme: np.ndarray
    alpha: np.ndarray
    ln_rankme_deviations: np.ndarray
    alpha_deviations: np.ndarray
    families: int
    token_hash: str

    @property
    def x(self) -> np.ndarray:
        """ln of tokens, or of steps where tokens are not known; the untrained model at half of the first step after it."""
        time = self.steps.astype(float) if np.isnan(self.tokens).any() else self.tokens.astype(float)
        return np.log(np.where(time == 0, time[time > 0].min(initial=np.inf) / 2, time))


def read_series(runs: Sequence[str], root: Path, headline: Headline) -> Series:
    """The series of one run, its errors from half-samples of sequences; of several (families), from their differences.

    Raises TableError where families do not have the same checkpoints.
    """
    found = [_of_run(root / run, headline) for run in runs]
    if len(found) == 1:
        return found[0]
    steps = [one.steps for one in found]
    if len({len(s) for s in steps}) > 1 or any((np.abs(s - steps[0]) > STEPS_AGREE * steps[0]).any() for s in steps):
        raise TableError(
            f"{', '.join(runs)} have unlike checkpoints ({[s.tolist() for s in steps]}): families are averaged checkpoint "
            "by checkpoint; give them the same recipe"
        )
    ln_rankme, alpha = np.stack([one.ln_rankme for one in found]), np.stack([one.alpha for one in found])  # (F, T)
    return Series(
        np.mean(steps, axis=0), np.mean([one.tokens for one in found], axis=0), ln_rankme.mean(0), alpha.mean(0),
        family_deviations(ln_rankme), family_deviations(alpha), len(found), found[0].token_hash,
    )  # fmt: skip


def _of_run(folder: Path, headline: Headline) -> Series:
    """Checkpoints that failed are left out: their table names them."""
    checkpoints = TRACE_TABLES.read(folder, "checkpoints")
    checkpoints = checkpoints[checkpoints["missing"] == ""]
    records, deviations = (at_headline(TRACE_TABLES.read(folder, name), headline) for name in ("records", "deviations"))
    rankme, alpha = (_values(records, checkpoints, measure) for measure in (RANKME, ALPHA))
    of_rankme, of_alpha = (_deviations(deviations, checkpoints, measure) for measure in (RANKME, ALPHA))
    return Series(
        checkpoints["step"].to_numpy(), checkpoints["tokens"].to_numpy(float, na_value=np.nan), np.log(rankme), alpha,
        of_rankme / rankme, of_alpha, 1, checkpoints["token_hash"].iloc[0],
    )  # fmt: skip


def at_headline(table: pd.DataFrame, headline: Headline) -> pd.DataFrame:
    """Rows of the headline's place: its last layer."""
    rows = table[(table["site"] == headline.site) & (table["level"] == headline.level)]
    return rows[rows["layer"] == rows["layer"].max()]


def is_headline(variant: pd.Series) -> pd.Series:
    """Whether a variant is the one that speaks for its measure: not the robust, nor the legacy fit of alpha."""
    return ~variant.str.startswith((ROBUST, LEGACY))


def _values(records: pd.DataFrame, checkpoints: pd.DataFrame, measure: str) -> np.ndarray:
    rows = records[(records["measure"] == measure) & is_headline(records["variant"])].set_index("step")
    return rows.loc[checkpoints["step"], "value"].to_numpy()


def _deviations(deviations: pd.DataFrame, checkpoints: pd.DataFrame, measure: str) -> np.ndarray:
    rows = deviations[(deviations["measure"] == measure) & is_headline(deviations["variant"])]
    return rows.pivot(index="half", columns="step", values="value")[checkpoints["step"]].to_numpy()  # (K, T)
