"""From measured sites to the tidy tables of one model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from stages.records.site import Site
from stages.records.table import COLUMNS


def tables(
    model: str, reference: str, aggregation: str, sites: Sequence[tuple[str, str, int, Site]]
) -> dict[str, pd.DataFrame]:
    """The three tables of ``model``, sites in the given order: (task, site, layer, measured)."""
    common = {"model": model, "reference": reference, "aggregation": aggregation}
    records = [{**common, **_key(key), **row} for *key, site in sites for row in site.records]
    replicates = [
        {
            **_key(key),
            "aggregation": aggregation,
            "measure": measure,
            "variant": variant,
            "quantity": quantity,
            "replicate": np.arange(len(values)),
            "value": values,
        }
        for *key, site in sites
        for (measure, variant, quantity), values in site.replicates.items()
    ]
    spectra = [
        {
            **_key(key),
            "aggregation": aggregation,
            "variant": variant,
            "rank": np.arange(1, len(values) + 1),
            "eigenvalue": values,
            "noise": noise,
        }
        for *key, site in sites
        for variant, (values, noise) in site.spectra.items()
    ]
    return {
        "records": pd.DataFrame(records),
        "replicates": _long("replicates", replicates),
        "spectra": _long("spectra", spectra),
    }


def _key(key: Sequence) -> dict:
    return dict(zip(("task", "site", "layer"), key, strict=True))


def _long(name: str, blocks: list[dict]) -> pd.DataFrame:
    """One table from blocks whose columns are scalars or equally long arrays; built by column, for speed."""
    columns = {}
    for column, kind in COLUMNS[name].items():
        length = [len(block["value" if name == "replicates" else "rank"]) for block in blocks]
        values = [block[column] for block in blocks]
        if values and np.ndim(values[0]):
            columns[column] = np.concatenate(values)
        else:
            columns[column] = np.repeat(np.array(values, dtype=object if kind == "str" else kind), length)
    return pd.DataFrame(columns)
