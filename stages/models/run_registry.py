"""The registry of training runs, ``data/registry/runs.yaml``: the checkpoints of each, in the order of training."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

from pydantic import Field, ValidationError

from stages.shared.params import Group, ParamsError, load
from stages.shared.registry import did_you_mean, read_entries_with
from stages.shared.study import require_no_organism

REGISTRY = Path("data/registry/runs.yaml")


class Step(Protocol):
    """A checkpoint, of whatever type, that stands at a step of training."""

    step: int


HasStep = TypeVar("HasStep", bound=Step)


class Tokenizer(Group):
    """The tokenizer of the runs of one family, so that all of them read the same ids."""

    hub: str
    """Hub id, organisation/name."""
    revision: str
    """Branch, tag or commit, verbatim."""


class RegisteredCheckpoint(Group):
    """A saved state of a run, as an entry of the registry lists it."""

    revision: str
    """Branch of the hub, or folder under the run's path: verbatim, never taken apart."""
    step: int = Field(ge=0)
    """Step of this run, from its start."""
    tokens: int | None = Field(default=None, ge=0)
    """Tokens that this run has seen by then."""
    hub: str | None = None
    """Repository of this checkpoint alone, in place of the run's."""


class RegisteredRun(Group):
    """An entry of the registry: a training run, and where its checkpoints are."""

    hub: str | None = None
    """Hub id, organisation/name."""
    path: str | None = None
    """Directory with one folder per checkpoint."""
    paradigm: Literal["base", "sft", "dpo", "rl_zero", "rlvr", "think", "other"]
    """Paradigm, as in models.yaml."""
    parent: str | None = None
    """Slug of the run that it starts from; none for pretraining from scratch."""
    tokenizer: Tokenizer | None = None
    """Tokenizer; None: that of the run's own last checkpoint."""
    corpus: str | None = None
    """Name of the n-gram corpus that it was trained on."""
    licence: str | None = None
    checkpoints: list[RegisteredCheckpoint]
    """Checkpoints in the order of training."""


def load_run(slug: str, path: Path = REGISTRY) -> RegisteredRun:
    """Return the run ``slug`` of the registry; it and the runs that it descends from are valid.

    Raises ParamsError naming the file, the run, the entry and the fix.
    """
    entries = read_entries_with(slug, "run", path)
    require_no_organism(slug, path)
    run = _valid(slug, entries, path)
    lineage, parent = [slug], run.parent
    while parent is not None:
        if parent not in entries:
            raise ParamsError(
                f"{path}: {lineage[-1]}.parent: no run {parent!r}: {did_you_mean(parent, entries)}"
                "name a run of this file, or leave parent out for pretraining from scratch"
            )
        if parent in lineage:
            raise ParamsError(
                f"{path}: {lineage[-1]}.parent: {' starts from '.join([*lineage, parent])}, a circle: correct one of them"
            )
        lineage.append(parent)
        parent = _valid(parent, entries, path).parent
    return run


def log_spaced(checkpoints: Sequence[HasStep], size: int) -> list[HasStep]:
    """Return at most ``size`` of ``checkpoints``, in their order: the first, the last, and others even in ln(step + 1).

    Each of ``size`` evenly spaced targets takes the nearest checkpoint that is still free; so where fewer are saved
    than targets fall, the next ones are taken, and there are always min(size, all) of them. Raises ParamsError if
    ``size`` is below 2.
    """
    if size < 2:
        raise ParamsError(f"{size} checkpoints asked for: expected at least 2, the first and the last of the run")
    if size >= len(checkpoints):
        return list(checkpoints)
    logs = [math.log1p(checkpoint.step) for checkpoint in checkpoints]
    spacing = (logs[-1] - logs[0]) / (size - 1)
    chosen = {0, len(logs) - 1}
    free = list(range(1, len(logs) - 1))
    # From the last target down: the low ones crowd below the first saved step, and would take what later ones need.
    for number in range(size - 2, 0, -1):
        target = logs[0] + number * spacing
        nearest = min(free, key=lambda index: abs(logs[index] - target))
        free.remove(nearest)
        chosen.add(nearest)
    return [checkpoints[index] for index in sorted(chosen)]


def _valid(slug: str, entries: dict[str, Any], path: Path) -> RegisteredRun:
    """Return the entry ``slug``; raise ParamsError where it is not valid."""
    try:
        run = RegisteredRun.model_validate(entries[slug])
    except ValidationError:
        return load(slug, RegisteredRun, path)  # raises, and explains every error
    # Here and not in the model, whose errors repeat the whole entry: lists of checkpoints are long.
    entry_key = f"{path}: {slug}"
    if (run.hub is None) == (run.path is None):
        raise ParamsError(
            f"{entry_key}: expected either hub (organisation/name) or path (a folder), found both or neither"
        )
    if run.path is not None and (revisions := [state.revision for state in run.checkpoints if state.hub]):
        raise ParamsError(
            f"{entry_key}.checkpoints: {revisions[0]!r} names a hub, but the run lies under path: leave hub out"
        )
    _require_order(entry_key, run.checkpoints)
    return run


def _require_order(entry_key: str, checkpoints: list[RegisteredCheckpoint]) -> None:
    """Raise ParamsError unless there is a checkpoint, their steps ascend, and no revision stands twice."""
    if not checkpoints:
        raise ParamsError(f"{entry_key}.checkpoints: none: list at least one, such as {{revision: main, step: 1}}")
    for index, (checkpoint, following) in enumerate(zip(checkpoints, checkpoints[1:], strict=False), 1):
        if checkpoint.step == following.step:
            raise ParamsError(
                f"{entry_key}.checkpoints.{index}: {following.revision!r} has step {following.step}, as {checkpoint.revision!r} has: "
                "leave one out, or correct its step"
            )
        if checkpoint.step > following.step:
            raise ParamsError(
                f"{entry_key}.checkpoints.{index}: {following.revision!r} (step {following.step}) stands after "
                f"{checkpoint.revision!r} (step {checkpoint.step}): list them by ascending step"
            )
    revisions = set()
    for index, checkpoint in enumerate(checkpoints):
        if checkpoint.revision in revisions:
            raise ParamsError(
                f"{entry_key}.checkpoints.{index}: revision {checkpoint.revision!r} stands twice: leave one out, or correct it"
            )
        revisions.add(checkpoint.revision)
