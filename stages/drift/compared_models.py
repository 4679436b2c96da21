"""The models that the drift study compares, each with its reference, and the recipes that they belong to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from stages.drift.params import Drift, DriftScope
from stages.models.names import recipe_of
from stages.shared.params import ParamsError


class ComparedModel(NamedTuple):
    """One model or run of the study, and the model that it is compared with: itself where it has no reference."""

    model: str
    reference: str

    @property
    def is_reference(self) -> bool:
        """Return whether the model is its own reference."""
        return self.model == self.reference


def compared_models(params: Drift, scope: DriftScope) -> list[ComparedModel]:
    """Return organisms of every family, models of the study and runs, references before those compared with them.

    Raises ParamsError where there is none, where a name stands for two of them, and where a reference is missing.
    """
    organisms = [ComparedModel(f"{name}-s{seed}", f"base-s{seed}") for seed in scope.seeds for name in params.organisms]
    models = [ComparedModel(*pair) for pair in scope.models.items()]
    compared = [*organisms, *models, *(ComparedModel(run, run) for run in params.runs)]
    if not compared:
        raise ParamsError(
            "params.yaml: nothing to compare: name drift.organisms and study.seeds, study.models or drift.runs"
        )
    names = [entry.model for entry in compared]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise ParamsError(
            f"params.yaml: {repeated[0]!r} stands for two of drift.organisms, study.models and drift.runs: rename the "
            "entry of one of them in data/registry"
        )
    if absent := [entry for entry in compared if entry.reference not in names]:
        raise ParamsError(
            f"params.yaml: {absent[0].reference!r}, the reference of {absent[0].model!r}, is not sampled: name it in "
            "drift.organisms or study.models"
        )
    return sorted(compared, key=lambda entry: not entry.is_reference)


def by_recipe(compared: Sequence[ComparedModel]) -> dict[str, list[ComparedModel]]:
    """Return the models of each recipe, one in every family; a model that is no organism is a recipe of its own."""
    recipes: dict[str, list[ComparedModel]] = {}
    for entry in compared:
        recipes.setdefault(recipe_of(entry.model), []).append(entry)
    return recipes
