"""Save the state of a training as it goes: one that was killed goes on there, and ends in the same bytes.

    .dvc/tmp/train/{organism}-{key}/checkpoints/step-N   checkpoints that the organism will keep
                                    state-N/             all that the steps after N depend on; the last one alone stays
                                    finished/            weights and curve of a training that has ended

DVC removes the outputs of a stage before it runs, so this folder is none. Its key is a hash of everything that the
training depends on; it is removed when the organism is written.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import torch
from torch import nn

from stages.shared.files import atomic_folder
from stages.shared.scratch import library_versions, scratch_key

SCRATCH = Path(".dvc/tmp/train")
# Saving takes at most this share of the time since the state before.
LARGEST_SHARE = 0.02
# No state is due sooner than so many seconds after the one before: the cost of the first is not known yet.
LEAST_SECONDS = 5.0
# Libraries beside those of every scratch key whose code decides what a training does.
TRAINERS = ("accelerate", "datasets", "trl")
WEIGHTS, CURVE, PARTS = "weights.pt", "curve.json", "parts.pt"


class Stateful(Protocol):
    """A part of a training with a state of its own, a tensor or a dictionary, such as a torch.Generator."""

    def get_state(self): ...

    def set_state(self, state): ...


class TrainingStates:
    """The saved states of one training, in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.checkpoints = folder / "checkpoints"
        self._ended = time.monotonic()
        self._started = self._ended
        self._interval = LEAST_SECONDS
        for left in folder.glob(".*.partial"):  # of a save that was killed
            shutil.rmtree(left)

    def is_due(self) -> bool:
        """Return whether a state should be saved now, so that all saving takes at most `LARGEST_SHARE` of the time."""
        self._started = time.monotonic()
        return self._started - self._ended >= self._interval

    @contextmanager
    def save(self, step: int) -> Iterator[Path]:
        """Yield a folder to be filled with the state after ``step``; complete, it takes the place of the one before."""
        earlier = self._saved_steps()
        with self._complete_folder(f"state-{step}") as folder:
            yield folder
        for number in earlier - {step}:
            shutil.rmtree(self.folder / f"state-{number}")
        self._ended = time.monotonic()
        self._interval = max(LEAST_SECONDS, (self._ended - self._started) / LARGEST_SHARE)

    def latest(self) -> Path | None:
        """Return the folder of the last state, None before the first."""
        steps = self._saved_steps()
        return self.folder / f"state-{max(steps)}" if steps else None

    def finish(self, model: nn.Module, curve: list[dict], parts: Sequence[Stateful] = ()) -> None:
        """Save what a training that has ended leaves; its states are removed."""
        with self._complete_folder("finished") as folder:
            torch.save(model.state_dict(), folder / WEIGHTS)
            (folder / CURVE).write_text(json.dumps(curve), encoding="utf-8")
            save_parts(parts, folder)
        for number in self._saved_steps():
            shutil.rmtree(self.folder / f"state-{number}")

    def restore_finished(self, model: nn.Module, parts: Sequence[Stateful] = ()) -> list[dict] | None:
        """Bring ``model`` and ``parts`` to the end of the training and return its curve; None where it has not ended."""
        folder = self.folder / "finished"
        if not folder.is_dir():
            return None
        model.load_state_dict(torch.load(folder / WEIGHTS, weights_only=True))
        restore_parts(parts, folder)
        return json.loads((folder / CURVE).read_text(encoding="utf-8"))

    def _saved_steps(self) -> set[int]:
        matches = (re.fullmatch(r"state-(\d+)", path.name) for path in self.folder.glob("state-*"))
        return {int(match[1]) for match in matches if match}

    @contextmanager
    def _complete_folder(self, name: str) -> Iterator[Path]:
        """Yield a folder that appears under its ``name`` when all of its bytes are on the disk."""
        with atomic_folder(self.folder / name) as folder:
            yield folder
            for path in folder.iterdir():
                with path.open("rb") as file:
                    os.fsync(file)


def save_parts(parts: Sequence[Stateful], folder: Path) -> None:
    """Write the states of ``parts``, in their order, to ``folder``."""
    torch.save([part.get_state() for part in parts], folder / PARTS)


def restore_parts(parts: Sequence[Stateful], folder: Path) -> None:
    """Give ``parts`` the states that `save_parts` wrote to ``folder``."""
    for part, state in zip(parts, torch.load(folder / PARTS, weights_only=True), strict=True):
        part.set_state(state)


@contextmanager
def resumable(name: str, content: Mapping[str, object], module: str) -> Iterator[TrainingStates]:
    """Yield the states of the training of ``name``; they stay where it is killed or fails, and are removed at its end.

    ``content`` (JSON) and the code of ``module`` are all that the training depends on, beside the libraries.
    """
    key = scratch_key({**content, "trainers": library_versions(TRAINERS)}, module)
    folder = SCRATCH / f"{name}-{key}"
    folder.mkdir(parents=True, exist_ok=True)
    yield TrainingStates(folder)
    shutil.rmtree(folder)
