"""The registry of training runs, ``data/registry/runs.yaml``: the checkpoints of each, in the order of training."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from stages.models.registry import SLUG, registered
from stages.shared.params import Group, ParamsError, load

REGISTRY = Path("data/registry/runs.yaml")


class Tokenizer(Group):
    """What the runs of one family tokenise with, so that all of them read the same ids."""

    hub: str
    """Hub id, organisation/name."""
    revision: str
    """Branch, tag or commit, verbatim."""


class Checkpoint(Group):
    """One saved state of a run."""

    revision: str
    """Branch of the hub, or folder under the run's path: verbatim, never taken apart."""
    step: int = Field(ge=0)
    """Of this run, from its start."""
    tokens: int | None = Field(default=None, ge=0)
    """That this run has seen by then."""
    hub: str | None = None
    """Repository of this checkpoint alone, in place of the run's."""


class Run(Group):
    """One entry: a training run, and where its checkpoints are."""

    hub: str | None = None
    """Hub id, organisation/name."""
    path: str | None = None
    """Directory with one folder per checkpoint."""
    paradigm: Literal["base", "sft", "dpo", "rl_zero", "rlvr", "think", "other"]
    """As in models.yaml."""
    parent: str | None = None
    """Slug of the run that it starts from; none for pretraining from scratch."""
    tokenizer: Tokenizer | None = None
    """None: that of the run's own last checkpoint."""
    corpus: str | None = None
    """Name of the n-gram corpus that it was trained on."""
    licence: str | None = None
    checkpoints: list[Checkpoint]
    """In the order of training."""


def load_run(slug: str, path: Path = REGISTRY) -> Run:
    """The run ``slug`` of the registry; it and the runs that it descends from are valid.

    Raises ParamsError naming the file, the run, the entry and the fix.
    """
    if not re.fullmatch(SLUG, slug):
        raise ParamsError(f"{path}: {slug}: a slug has letters, digits, - and _ only (it names stages and folders)")
    entries = registered(path)
    if slug not in entries:
        raise ParamsError(f"{path}: no run {slug!r}: {_hint(slug, entries)}registered: {', '.join(entries) or 'none'}")
    run = _valid(slug, entries, path)
    line, parent = [slug], run.parent
    while parent is not None:
        if parent not in entries:
            raise ParamsError(
                f"{path}: {line[-1]}.parent: no run {parent!r}: {_hint(parent, entries)}"
                "name a run of this file, or leave parent out for pretraining from scratch"
            )
        if parent in line:
            raise ParamsError(
                f"{path}: {line[-1]}.parent: {' starts from '.join([*line, parent])}, a circle: correct one of them"
            )
        line.append(parent)
        parent = _valid(parent, entries, path).parent
    return run


def log_spaced(checkpoints: Sequence[Checkpoint], size: int) -> list[Checkpoint]:
    """At most ``size`` of ``checkpoints``, in their order: the first, the last, and others even in ln(step + 1).

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
        nearest = min(free, key=lambda place: abs(logs[place] - target))
        free.remove(nearest)
        chosen.add(nearest)
    return [checkpoints[place] for place in sorted(chosen)]


def _valid(slug: str, entries: dict[str, Any], path: Path) -> Run:
    """The entry ``slug``, or ParamsError."""
    try:
        run = Run.model_validate(entries[slug])
    except ValidationError:
        return load(slug, Run, path)  # raises, and explains every error
    # Here and not in the model, whose errors repeat the whole entry: lists of checkpoints are long.
    where = f"{path}: {slug}"
    if (run.hub is None) == (run.path is None):
        raise ParamsError(f"{where}: expected either hub (organisation/name) or path (a folder), found both or neither")
    if run.path is not None and (named := [one.revision for one in run.checkpoints if one.hub]):
        raise ParamsError(f"{where}.checkpoints: {named[0]!r} names a hub, but the run lies under path: leave hub out")
    _require_order(where, run.checkpoints)
    return run


def _require_order(where: str, checkpoints: list[Checkpoint]) -> None:
    """There is a checkpoint, their steps ascend, and no revision stands twice."""
    if not checkpoints:
        raise ParamsError(f"{where}.checkpoints: none: list at least one, such as {{revision: main, step: 1}}")
    for place, (one, following) in enumerate(zip(checkpoints, checkpoints[1:], strict=False), 1):
        if one.step == following.step:
            raise ParamsError(
                f"{where}.checkpoints.{place}: {following.revision!r} has step {following.step}, as {one.revision!r} has: "
                "leave one out, or correct its step"
            )
        if one.step > following.step:
            raise ParamsError(
                f"{where}.checkpoints.{place}: {following.revision!r} (step {following.step}) stands after "
                f"{one.revision!r} (step {one.step}): list them by ascending step"
            )
    seen = set()
    for place, checkpoint in enumerate(checkpoints):
        if checkpoint.revision in seen:
            raise ParamsError(
                f"{where}.checkpoints.{place}: revision {checkpoint.revision!r} stands twice: leave one out, or correct it"
            )
        seen.add(checkpoint.revision)


def _hint(word: str, choices: dict[str, Any]) -> str:
    close = difflib.get_close_matches(word, choices, n=1)
    return f"did you mean {close[0]!r}? " if close else ""
