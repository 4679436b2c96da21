"""Which models the drift study compares, each with its reference and the line that it belongs to."""

from __future__ import annotations

from stages.drift.comparisons import Subject
from stages.drift.params import Drift, Scope
from stages.shared.params import ParamsError


def subjects_of(params: Drift, scope: Scope) -> list[Subject]:
    """Organisms of every family, models of the study, runs; references before those that are compared with them.

    Raises ParamsError where there is none, where a name stands for two of them, and where a reference is not among them.
    """
    organisms = [Subject(f"{name}-s{seed}", f"base-s{seed}") for seed in scope.seeds for name in params.organisms]
    models = [Subject(*pair) for pair in scope.models.items()]
    found = [*organisms, *models, *(Subject(run, run) for run in params.runs)]
    if not found:
        raise ParamsError(
            "params.yaml: nothing to compare: name drift.organisms and study.seeds, study.models or drift.runs"
        )
    names = [subject.model for subject in found]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise ParamsError(
            f"params.yaml: {repeated[0]!r} stands for two of drift.organisms, study.models and drift.runs: rename the entry of "
            "one of them in data/registry"
        )
    if absent := [subject for subject in found if subject.reference not in names]:
        raise ParamsError(
            f"params.yaml: {absent[0].reference!r}, the reference of {absent[0].model!r}, is not sampled: name it in "
            "drift.organisms or study.models"
        )
    return sorted(found, key=lambda subject: subject.model != subject.reference)
