"""The tables that the figures read, of exactly the models of the study."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from stages.organisms.training_records import read_training_record
from stages.paradigms.params import MeasureParams, PerturbParams, perturbed_models
from stages.paradigms.perturbed_records import read_perturbed
from stages.paradigms.tables import PROBE_TABLES, RECORD_TABLES
from stages.shared.study import Study, all_models, organism_models

RECORDS, PROBES, PERTURBED = Path("data/records"), Path("data/probes"), Path("data/probes/perturbed")
METRICS, CURVES, TESTS = Path("metrics/train"), Path("plots/train"), Path("plots/hypotheses.csv")


class PlotError(ValueError):
    """An input is missing; the message names the file and the stage that writes it."""


class ParadigmInputs(NamedTuple):
    """The tables of all models, with the columns `model` and `recipe`."""

    everywhere: pd.DataFrame
    """records of all positions in the text"""
    records: pd.DataFrame
    """records at the position of the study, and so the three tables after them"""
    replicates: pd.DataFrame
    spectra: pd.DataFrame
    rarefaction: pd.DataFrame
    sensitivity: pd.DataFrame
    weights: pd.DataFrame
    points: pd.DataFrame
    """table of models that moved as far in other directions"""
    trained: dict[str, dict]
    """training metrics by organism"""
    curves: list[pd.DataFrame]
    tests: pd.DataFrame
    models: int


def read_inputs(study: Study, measure: MeasureParams, perturb: PerturbParams) -> ParadigmInputs:
    """Read all tables of the models of ``study``.

    Raises PlotError or TableError naming the file that is missing and the stage that writes it.
    """
    recipes = {slug: slug for slug in all_models(study)} | {
        name: name.rpartition("-s")[0] for name in organism_models(study)
    }
    everywhere, *replicated = (
        gather(name, recipes, RECORDS, RECORD_TABLES.read)
        for name in ("records", "replicates", "spectra", "rarefaction")
    )
    at_position = [rows[rows["aggregation"] == measure.aggregation] for rows in (everywhere, *replicated)]
    probes = [gather(name, recipes, PROBES, PROBE_TABLES.read) for name in ("sensitivity", "weights")]
    moved = {model: recipes[model] for model in perturbed_models(perturb, study) if model in recipes}
    trained = {
        name: read_training_record(METRICS / f"{name}.json").model_dump(exclude_none=True)
        for name in organism_models(study)
    }
    curves = [
        pd.read_csv(require_file(CURVES / f"{name}.csv")).assign(model=name, recipe=recipes[name]) for name in trained
    ]
    points = read_perturbed(PERTURBED, moved)
    tests = pd.read_csv(require_file(TESTS, "test"))
    return ParadigmInputs(everywhere, *at_position, *probes, points, trained, curves, tests, len(recipes))


def gather(name: str, recipes: dict[str, str], folder: Path, read: Callable[[Path, str], pd.DataFrame]) -> pd.DataFrame:
    """Return the table ``name`` of exactly the models of ``recipes`` (model: recipe), with these two as columns."""
    return pd.concat(
        [read(folder / model, name).assign(model=model, recipe=recipe) for model, recipe in recipes.items()],
        ignore_index=True,
    )


def require_file(path: Path, stage: str | None = None) -> Path:
    """Return ``path`` if it is there, else raise PlotError; organisms are written by the stage that bears their name."""
    if not path.is_file():
        raise PlotError(f"{path} not found: run `dvc repro {stage or path.stem.rpartition('-s')[0]}`")
    return path
