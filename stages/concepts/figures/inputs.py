"""The inputs of the figures, and how models and autoencoders are drawn in all of them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from stages.concepts.autoencoder_params import Autoencoders
from stages.concepts.params import Concepts
from stages.concepts.tables import DICTIONARIES, DICTIONARY_TABLES, RECORD_TABLES
from stages.models.names import recipe_of

NOTHING = "No model has words to read: concepts.models is empty, and there is no family of organisms."
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E8A33D", "#56B4E9", "#222222", "#8B4513", "#8C6BB1", "#A6A600")
# Names of the baselines, as figures call them.
LEVELS = {"directions": "random directions", "probe": "linear probe"}


class ConceptInputs(NamedTuple):
    """All that the figures show."""

    tables: dict[str, pd.DataFrame]
    """Tables of records and dictionaries by name, and the ``curves`` of training."""
    params: Concepts
    autoencoders: Autoencoders

    def by_recipe(self, name: str) -> pd.DataFrame:
        """Return a table with a column more, ``line``: the recipe of an organism, or another model's name."""
        table = self.tables[name]
        return table.assign(line=table["model"].map(recipe_of))

    def variant_names(self, present: Iterable[str]) -> list[str]:
        """Return the names that are ``present``, in the order of the parameters, baselines last."""
        variants = self.autoencoders.variants.items()
        names = [variant_name(name, noise) for name, variant in variants for noise in variant.noise]
        drawn = set(present)
        return [name for name in [*names, *LEVELS.values()] if name in drawn]


def read_inputs(folder: Path, params: Concepts, autoencoders: Autoencoders) -> ConceptInputs:
    """Read all tables from ``folder`` data/concepts; raises TableError where a table is missing or damaged."""
    tables = {name: RECORD_TABLES.read(folder / "records", name) for name in RECORD_TABLES.columns}
    tables |= {name: DICTIONARY_TABLES.read(folder / "dictionaries", name) for name in DICTIONARIES}
    return ConceptInputs(tables | {"curves": pd.read_csv(folder / "autoencoders" / "curves.csv")}, params, autoencoders)


def variant_name(variant: str, noise: float) -> str:
    """Return the name that figures give a variant, with its noise."""
    return LEVELS.get(variant, variant if noise == 0 else f"{variant}, noise {noise:g}")


def variant_colours(names: Iterable[str]) -> dict[str, str]:
    """Return a colour for every name, in their order."""
    return {name: COLOURS[i % len(COLOURS)] for i, name in enumerate(dict.fromkeys(names))}
