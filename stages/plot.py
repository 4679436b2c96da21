"""Draw the figures and write the tables behind them: python -m stages.plot."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pandas as pd

from stages.figures import displacement, effective_rank, hypotheses, preservation, spectra, training
from stages.figures.style import save, save_table
from stages.params.hypotheses import Hypotheses
from stages.params.loading import load
from stages.params.measure import Measure
from stages.params.perturb import Perturb, perturbed_models
from stages.params.study import Study, all_models, organism_models
from stages.records.table import read
from stages.records.update_size import read_all

RECORDS, PERTURBED, METRICS = Path("data/records"), Path("data/perturbed"), Path("metrics/train")
CURVES, PLOTS = Path("plots/train"), Path("plots")


class PlotError(ValueError):
    """An input is missing; the message names the file and the stage that writes it."""


def main() -> None:
    study, measure, declared = load("study", Study), load("measure", Measure), load("hypotheses", Hypotheses)
    k, site, margins = measure.headline_k, declared.site, declared.margins
    recipes = {slug: slug for slug in all_models(study)} | {
        name: name.rpartition("-s")[0] for name in organism_models(study)
    }
    records, replicates, eigenvalues = (gather(name, recipes) for name in ("records", "replicates", "spectra"))
    moved = [model for model in perturbed_models(load("perturb", Perturb), study) if model in recipes]
    points = read_all(PERTURBED, {model: recipes[model] for model in moved})
    trained = {name: json.loads(found(METRICS / f"{name}.json").read_text()) for name in organism_models(study)}
    curves = [pd.read_csv(found(CURVES / f"{name}.csv")).assign(model=name, recipe=recipes[name]) for name in trained]
    tests = pd.read_csv(found(PLOTS / "hypotheses.csv", "test"))

    by_layer = preservation.table(records, points, k, site)
    ranks = effective_rank.table(records, site)
    shares = spectra.table(eigenvalues, site)
    paths = displacement.paths(points)
    known = displacement.distances(trained, paths)
    distances = displacement.table(records, replicates, known, k, site, measure.confidence)
    progress, accuracy = training.curve_table(curves), training.accuracy_table(trained)
    tables = {
        "preservation": by_layer, "effective_rank": ranks, "spectra": shares,
        "displacement": distances, "update_size": paths, "training": progress, "accuracy": accuracy,
    }  # fmt: skip
    figures = {
        "preservation": preservation.draw(by_layer, k, site),
        "effective_rank": effective_rank.draw(ranks, site),
        "spectra": spectra.draw(shares, site),
        "displacement": displacement.draw(distances, paths),
        "training": training.draw(progress, accuracy),
        "hypotheses": hypotheses.draw(tests, margins.strong, margins.moderate, margins.equivalent, 1 - declared.alpha),
    }
    for name, table in tables.items():
        save_table(table, PLOTS / f"{name}.csv")
    for name, figure in figures.items():
        save(figure, PLOTS / f"{name}.png")
    logging.info("%d figures of %d models in %s", len(figures), len(recipes), PLOTS)


def gather(name: str, recipes: dict[str, str]) -> pd.DataFrame:
    """The table ``name`` of exactly the given models, with the columns `model` and `recipe`."""
    return pd.concat(
        [read(RECORDS / model, name).assign(model=model, recipe=recipe) for model, recipe in recipes.items()],
        ignore_index=True,
    )


def found(path: Path, stage: str | None = None) -> Path:
    """``path``, if it is there; organisms are written by the stage that bears their name."""
    if not path.is_file():
        raise PlotError(f"{path} not found: run `dvc repro {stage or path.stem.rpartition('-s')[0]}`")
    return path


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    main()
