"""Draw the figures and write the tables behind them: python -m stages.plot."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from stages.figures import (
    displacement,
    effective_rank,
    hypotheses,
    preservation,
    rarefaction,
    scores,
    sensitivity,
    spectra,
    training,
    weights,
)
from stages.figures.style import save, save_table
from stages.params.hypotheses import Hypotheses
from stages.params.loading import load
from stages.params.measure import Measure
from stages.params.study import Study, all_models, organism_models
from stages.records import probe_tables, table

RECORDS, PROBES, METRICS = Path("data/records"), Path("data/probes"), Path("metrics/train")
CURVES, PLOTS = Path("plots/train"), Path("plots")


class PlotError(ValueError):
    """An input is missing; the message names the file and the stage that writes it."""


def main() -> None:
    study, measure, declared = load("study", Study), load("measure", Measure), load("hypotheses", Hypotheses)
    k, site, margins = measure.headline_k, declared.site, declared.margins
    recipes = {slug: slug for slug in all_models(study)} | {
        name: name.rpartition("-s")[0] for name in organism_models(study)
    }
    names = ("records", "replicates", "spectra", "rarefaction")
    everywhere, *others = (gather(name, recipes) for name in names)
    records, replicates, eigenvalues, sizes = (
        rows[rows["aggregation"] == measure.aggregation] for rows in (everywhere, *others)
    )
    probed, updates = (gather(name, recipes, PROBES, probe_tables.read) for name in ("sensitivity", "weights"))
    trained = {name: json.loads(found(METRICS / f"{name}.json").read_text()) for name in organism_models(study)}
    curves = [pd.read_csv(found(CURVES / f"{name}.csv")).assign(model=name, recipe=recipes[name]) for name in trained]
    tests = pd.read_csv(found(PLOTS / "hypotheses.csv", "test"))

    by_layer = preservation.table(records, k, site)
    ranks = effective_rank.table(records, site)
    shares = spectra.table(eigenvalues, site)
    distances = displacement.table(records, replicates, displacement.distances(trained), k, site, measure.confidence)
    alike, growth = scores.table(everywhere, k, site, measure.aggregation), rarefaction.table(sizes, site)
    sensitivities, moved = sensitivity.table(probed, measure.confidence), weights.table(updates)
    progress, accuracy = training.curve_table(curves), training.accuracy_table(trained)
    tables = {
        "preservation": by_layer, "effective_rank": ranks, "spectra": shares, "displacement": distances,
        "training": progress, "accuracy": accuracy, "scores": alike, "rarefaction": growth,
        "sensitivity": sensitivities, "weights": moved,
    }  # fmt: skip
    figures = {
        "preservation": preservation.draw(by_layer, k, site),
        "effective_rank": effective_rank.draw(ranks, site),
        "spectra": spectra.draw(shares, site),
        "displacement": displacement.draw(distances),
        "scores": scores.draw(alike, k, site),
        "rarefaction": rarefaction.draw(growth, site),
        "training": training.draw(progress, accuracy),
        "sensitivity": sensitivity.draw(sensitivities),
        "weights": weights.draw(moved),
        "hypotheses": hypotheses.draw(tests, margins.strong, margins.moderate, margins.equivalent, 1 - declared.alpha),
    }
    for name, content in tables.items():
        save_table(content, PLOTS / f"{name}.csv")
    for name, figure in figures.items():
        save(figure, PLOTS / f"{name}.png")
    logging.info("%d figures of %d models in %s", len(figures), len(recipes), PLOTS)


def gather(
    name: str, recipes: dict[str, str], folder: Path = RECORDS, read: Callable[[Path, str], pd.DataFrame] = table.read
) -> pd.DataFrame:
    """The table ``name`` of exactly the given models, with the columns `model` and `recipe`."""
    return pd.concat(
        [read(folder / model, name).assign(model=model, recipe=recipe) for model, recipe in recipes.items()],
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
