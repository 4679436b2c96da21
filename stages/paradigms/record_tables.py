"""The tidy tables of one measured model, made of the records of its sites and layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from stages.paradigms.layer_records import LayerRecords
from stages.paradigms.site_records import SiteRecords
from stages.paradigms.tables import RECORD_COLUMNS


class Location(NamedTuple):
    """The task, position, site and layer of a measurement; records over the layers of a site have layer -1."""

    task: str
    aggregation: str
    site: str
    layer: int


def record_tables(
    model: str,
    reference: str,
    sites: Sequence[tuple[Location, SiteRecords]],
    layer_sets: Sequence[tuple[Location, LayerRecords]],
) -> dict[str, pd.DataFrame]:
    """Return all tables of ``model`` by name (`RECORD_COLUMNS`), sites in the given order."""
    common = {"model": model, "reference": reference}
    records = [{**common, **location._asdict(), **row} for location, site in sites for row in site.records]
    records += [
        {**common, **location._replace(layer=layer)._asdict(), **row}
        for location, layer_records in layer_sets
        for layer, row in layer_records.curvature
    ]
    replicates = [
        {
            **location._asdict(),
            "measure": measure,
            "variant": variant,
            "quantity": quantity,
            "replicate": np.arange(len(values)),
            "value": values,
        }
        for location, site in sites
        for (measure, variant, quantity), values in site.replicates.items()
    ]
    spectra = [
        {
            **location._asdict(),
            "variant": variant,
            "rank": np.arange(1, len(values) + 1),
            "eigenvalue": values,
            "noise": noise,
        }
        for location, site in sites
        for variant, (values, noise) in site.spectra.items()
    ]
    rarefaction = [{**location._asdict(), **row} for location, site in sites for row in site.rarefaction]
    layers = [
        {**location._asdict(), **row} for location, layer_records in layer_sets for row in layer_records.similarity
    ]
    return {
        "records": pd.DataFrame(records),
        "replicates": _long("replicates", replicates),
        "spectra": _long("spectra", spectra),
        "rarefaction": pd.DataFrame(rarefaction, columns=list(RECORD_COLUMNS["rarefaction"])),
        "layers": pd.DataFrame(layers, columns=list(RECORD_COLUMNS["layers"])),
    }


def _long(name: str, blocks: list[dict]) -> pd.DataFrame:
    """Return one table from blocks whose columns are scalars or equally long arrays; built by column, for speed."""
    columns = {}
    for column, kind in RECORD_COLUMNS[name].items():
        length = [len(block["value" if name == "replicates" else "rank"]) for block in blocks]
        values = [block[column] for block in blocks]
        if values and np.ndim(values[0]):
            columns[column] = np.concatenate(values)
        else:
            columns[column] = np.repeat(np.array(values, dtype=object if kind == "str" else kind), length)
    return pd.DataFrame(columns)
