"""From measured sites to the tidy tables of one model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from stages.paradigms.layer_records import Depth
from stages.paradigms.site_records import Site
from stages.paradigms.tables import RECORD_COLUMNS


class Place(NamedTuple):
    """Where something was measured; of `Depth` the layer is -1, for it spans them."""

    task: str
    aggregation: str
    site: str
    layer: int


def tables(
    model: str, reference: str, sites: Sequence[tuple[Place, Site]], depths: Sequence[tuple[Place, Depth]]
) -> dict[str, pd.DataFrame]:
    """All tables of ``model``, sites in the given order."""
    common = {"model": model, "reference": reference}
    records = [{**common, **place._asdict(), **row} for place, site in sites for row in site.records]
    records += [
        {**common, **place._replace(layer=layer)._asdict(), **row}
        for place, depth in depths
        for layer, row in depth.curvature
    ]
    replicates = [
        {
            **place._asdict(),
            "measure": measure,
            "variant": variant,
            "quantity": quantity,
            "replicate": np.arange(len(values)),
            "value": values,
        }
        for place, site in sites
        for (measure, variant, quantity), values in site.replicates.items()
    ]
    spectra = [
        {
            **place._asdict(),
            "variant": variant,
            "rank": np.arange(1, len(values) + 1),
            "eigenvalue": values,
            "noise": noise,
        }
        for place, site in sites
        for variant, (values, noise) in site.spectra.items()
    ]
    rarefaction = [{**place._asdict(), **row} for place, site in sites for row in site.rarefaction]
    layers = [{**place._asdict(), **row} for place, depth in depths for row in depth.similarity]
    return {
        "records": pd.DataFrame(records),
        "replicates": _long("replicates", replicates),
        "spectra": _long("spectra", spectra),
        "rarefaction": pd.DataFrame(rarefaction, columns=list(RECORD_COLUMNS["rarefaction"])),
        "layers": pd.DataFrame(layers, columns=list(RECORD_COLUMNS["layers"])),
    }


def _long(name: str, blocks: list[dict]) -> pd.DataFrame:
    """One table from blocks whose columns are scalars or equally long arrays; built by column, for speed."""
    columns = {}
    for column, kind in RECORD_COLUMNS[name].items():
        length = [len(block["value" if name == "replicates" else "rank"]) for block in blocks]
        values = [block[column] for block in blocks]
        if values and np.ndim(values[0]):
            columns[column] = np.concatenate(values)
        else:
            columns[column] = np.repeat(np.array(values, dtype=object if kind == "str" else kind), length)
    return pd.DataFrame(columns)
