"""Replicate families in one line of a figure: their mean, and a band around it."""

from __future__ import annotations

import pandas as pd


def family_band(rows: pd.DataFrame, quantity: str, several: bool) -> pd.DataFrame:
    """Return `mean`, `low` and `high` of ``quantity`` over the families, by layer.

    The band is the interval over prompts of one family, in the columns `{quantity}_low` and `{quantity}_high` (of
    "value": `low` and `high`), or the range of ``several``. A layer between others without rows is NaN, so that no line
    is drawn across it.
    """
    prefix = "" if quantity == "value" else f"{quantity}_"
    low, high = (quantity, quantity) if several else (f"{prefix}low", f"{prefix}high")
    band = rows.groupby("layer").agg(mean=(quantity, "mean"), low=(low, "min"), high=(high, "max"))
    return band.reindex(range(band.index.min(), band.index.max() + 1)) if len(band) else band
