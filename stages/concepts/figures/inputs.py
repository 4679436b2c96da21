"""What the figures of the concepts study read, and how models and autoencoders are drawn in all of them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from stages.concepts.autoencoder_params import Autoencoders
from stages.concepts.params import Concepts
from stages.concepts.tables import DICTIONARIES, DICTIONARY_TABLES, RECORD_TABLES
from stages.models.names import recipe_of
from stages.shared.figure_style import Look, looks

NOTHING = "No model has words to read: concepts.models is empty, and there is no family of organisms."
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E8A33D", "#56B4E9", "#222222", "#8B4513", "#8C6BB1", "#A6A600")
LEVELS = {"directions": "random directions", "probe": "linear probe"}


class Inputs(NamedTuple):
    tables: dict[str, pd.DataFrame]
    """Of records and dictionaries, and ``curves`` of training"""
    params: Concepts
    autoencoders: Autoencoders

    def lines(self, name: str) -> pd.DataFrame:
        """A table with the column line: a model, or the recipe of an organism."""
        table = self.tables[name]
        return table.assign(line=table["model"].map(recipe_of))

    def names(self, present: Iterable[str]) -> list[str]:
        """Variants by name and noise, in the order of the parameters, baselines last."""
        variants = self.autoencoders.variants.items()
        known = [variant_name(name, noise) for name, variant in variants for noise in variant.noise]
        found = set(present)
        return [name for name in [*known, *LEVELS.values()] if name in found]


def read_inputs(folder: Path, params: Concepts, autoencoders: Autoencoders) -> Inputs:
    """From ``folder`` data/concepts; raises TableError where a table is missing or damaged."""
    tables = {name: RECORD_TABLES.read(folder / "records", name) for name in RECORD_TABLES.columns}
    tables |= {name: DICTIONARY_TABLES.read(folder / "dictionaries", name) for name in DICTIONARIES}
    return Inputs(tables | {"curves": pd.read_csv(folder / "autoencoders" / "curves.csv")}, params, autoencoders)


def model_looks(lines: Iterable[str]) -> dict[str, Look]:
    return looks(lines)


def variant_name(variant: str, noise: float) -> str:
    """As figures call it."""
    return LEVELS.get(variant, variant if noise == 0 else f"{variant}, noise {noise:g}")


def variant_colours(names: Iterable[str]) -> dict[str, str]:
    return {name: COLOURS[i % len(COLOURS)] for i, name in enumerate(dict.fromkeys(names))}
