"""Checks that the activations of a model and its reference can be compared, before anything is computed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from stages.activations.store import ActivationError, ActivationHeader, read_header, require_comparable
from stages.models.names import stage_of


def comparable_header(paths: Sequence[Path], unlike: Sequence[str], k: int) -> ActivationHeader:
    """Return the header of the model's file on one task, if it can be compared with its reference's; ``paths``: both.

    ``paths`` are those of the reference and of the model. Raises ActivationError where a file is missing or unusable,
    where the two differ in a condition that must be equal and is not in ``unlike`` (`require_comparable`), and where
    not even ``k`` leading directions can be compared. A larger number of directions may still be too many: that is a
    missing record, not an error. So is a site without variance, in one model (it collapsed: a finding about that
    model, and no reason to lose its other sites) or in both (by design).
    """
    require_files(paths)
    reference, model = (read_header(path) for path in paths)
    require_comparable(reference, model, unlike, paths)
    require_directions(reference, model, k)
    return model


def require_files(paths: Sequence[Path]) -> None:
    """Raise ActivationError if a task was not collected for both models."""
    if absent := [path for path in dict.fromkeys(paths) if not path.is_file()]:
        stages = " ".join(stage_of("collect", path.parent.name) for path in absent)
        raise ActivationError(
            f"{paths[1].parent.name} cannot be measured against {paths[0].parent.name} on {paths[0].stem}: "
            f"{' and '.join(map(str, absent))} not found; rebuild with `dvc repro {stages}`, or fetch with `dvc pull`"
        )


def require_directions(reference: ActivationHeader, model: ActivationHeader, k: int) -> None:
    """Raise ActivationError unless a quarter of the prompts, centred, can hold ``k`` directions."""
    n, d = len(model.prompt_ids), model.d_model
    if k <= min(n // 4 - 1, d):
        return
    fix = f"collect at least {4 * (k + 1)} prompts (collect.prompts, tasks.{model.task})" if k <= d else ""
    raise ActivationError(
        f"{model.model} cannot be compared with {reference.model} on {model.task}: k = {k} leading directions of "
        f"n = {n} prompts in d = {d} dimensions, where a quarter of the prompts holds {max(0, min(n // 4 - 1, d))}; "
        f"{' or '.join(filter(None, [fix, 'lower measure.headline_k in params.yaml']))}"
    )
