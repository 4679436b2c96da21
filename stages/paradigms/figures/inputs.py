"""Everything that the figures read, of exactly the models of the study."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from stages.paradigms.params import Measure, Perturb, perturbed_models
from stages.paradigms.perturbed import read_all
from stages.paradigms.tables import PROBE_TABLES, RECORD_TABLES
from stages.shared.study import Study, all_models, organism_models

RECORDS, PROBES, PERTURBED = Path("data/records"), Path("data/probes"), Path("data/probes/perturbed")
METRICS, CURVES, TESTS = Path("metrics/train"), Path("plots/train"), Path("plots/hypotheses.csv")


class PlotError(ValueError):
    """An input is missing; the message names the file and the stage that writes it."""


class Inputs(NamedTuple):
    """Tables of all models, with the columns `model` and `recipe`."""

    everywhere: pd.DataFrame
    """records of all positions in the text"""
    records: pd.DataFrame
    """these and the following at the position of the study"""
    replicates: pd.DataFrame
    spectra: pd.DataFrame
    rarefaction: pd.DataFrame
    sensitivity: pd.DataFrame
    weights: pd.DataFrame
    points: pd.DataFrame
    """of models that moved as far in other directions"""
    trained: dict[str, dict]
    """training metrics by organism"""
    curves: list[pd.DataFrame]
    tests: pd.DataFrame
    models: int


def read_inputs(study: Study, measure: Measure, perturb: Perturb) -> Inputs:
    """Raises PlotError, or the error of a table's own room, naming the file that is missing and its stage."""
    recipes = {slug: slug for slug in all_models(study)} | {
        name: name.rpartition("-s")[0] for name in organism_models(study)
    }
    everywhere, *others = (
        gather(name, recipes, RECORDS, RECORD_TABLES.read)
        for name in ("records", "replicates", "spectra", "rarefaction")
    )
    here = [rows[rows["aggregation"] == measure.aggregation] for rows in (everywhere, *others)]
    probes = [gather(name, recipes, PROBES, PROBE_TABLES.read) for name in ("sensitivity", "weights")]
    moved = {model: recipes[model] for model in perturbed_models(perturb, study) if model in recipes}
    trained = {name: json.loads(found(METRICS / f"{name}.json").read_text()) for name in organism_models(study)}
    curves = [pd.read_csv(found(CURVES / f"{name}.csv")).assign(model=name, recipe=recipes[name]) for name in trained]
    points = read_all(PERTURBED, moved)
    return Inputs(everywhere, *here, *probes, points, trained, curves, pd.read_csv(found(TESTS, "test")), len(recipes))


def gather(name: str, recipes: dict[str, str], folder: Path, read: Callable[[Path, str], pd.DataFrame]) -> pd.DataFrame:
    """The table ``name`` of exactly the given models."""
    return pd.concat(
        [read(folder / model, name).assign(model=model, recipe=recipe) for model, recipe in recipes.items()],
        ignore_index=True,
    )


def found(path: Path, stage: str | None = None) -> Path:
    """``path``, if it is there; organisms are written by the stage that bears their name."""
    if not path.is_file():
        raise PlotError(f"{path} not found: run `dvc repro {stage or path.stem.rpartition('-s')[0]}`")
    return path
