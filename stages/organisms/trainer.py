"""Run a trainer of TRL: the arguments, progress bar, saved states, checkpoints and training curve that all runs share."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm
from transformers import PrinterCallback, Trainer, TrainerCallback

from stages.organisms.resumption import Stateful, TrainingStates, restore_parts, save_parts
from stages.shared.files import atomic_folder

# The folder, beside the saved states, that the trainer itself writes to.
TRAINER_FOLDER = "trainer"


class TrainingRun(NamedTuple):
    """The states that a run saves and goes on from, its seed, and what the trainer calls between its steps."""

    states: TrainingStates
    seed: int
    callbacks: list[TrainerCallback]


def shared_arguments(steps: int, learning_rate: float, run: TrainingRun) -> dict:
    """Return the arguments of a run in full precision on the CPU, where equal seeds give equal bytes.

    The trainer saves where `SaveState` tells it to, and reports nothing.
    """
    return {
        "output_dir": str(run.states.folder / TRAINER_FOLDER),
        "max_steps": steps,
        "learning_rate": learning_rate,
        "adam_beta2": 0.95,
        "optim": "adamw_torch_fused",
        "logging_steps": max(1, steps // 40),
        "save_strategy": "no",
        "report_to": [],
        "disable_tqdm": True,
        "use_cpu": True,
        "bf16": False,
        "gradient_checkpointing": False,
        "dataloader_num_workers": 0,
        "dataloader_pin_memory": False,
        "seed": run.seed,
    }


def halving_steps(steps: int, count: int) -> list[int]:
    """Return ``steps`` and its successive halves, ``count`` in all: a run that stops early has passed some of them."""
    return sorted({steps >> index for index in range(count)} - {0})


class Progress(TrainerCallback):
    """A progress bar in place of the trainer's own, which prints every logged number."""

    def on_train_begin(self, args, state, control, **_):
        self.bar = tqdm(total=state.max_steps, initial=state.global_step, mininterval=10)

    def on_step_end(self, args, state, control, **_):
        self.bar.update()

    def on_train_end(self, args, state, control, **_):
        self.bar.close()


class SaveCheckpoints(TrainerCallback):
    """Save the model as ``folder/step-N`` at the given steps, and where the run ends."""

    def __init__(self, folder: Path, steps: list[int]):
        self.folder, self.steps = folder, set(steps)

    def on_step_end(self, args, state, control, model=None, **_):
        if state.global_step in self.steps or control.should_training_stop:
            with atomic_folder(self.folder / f"step-{state.global_step}") as temporary:
                model.save_pretrained(temporary)


class SaveState(TrainerCallback):
    """Have the trainer save its state where one is due, and restore ``parts``, which the trainer does not know.

    Only right after a step that is logged: an average of the log never spans a saved state, and a run that goes on
    from there logs the same numbers.
    """

    def __init__(self, states: TrainingStates, parts: Sequence[Stateful]):
        self.states, self.parts = states, parts

    def on_train_begin(self, args, state, control, **_):
        if latest := self.states.latest():
            restore_parts(self.parts, latest)

    def on_step_end(self, args, state, control, **_):
        if control.should_log and not control.should_training_stop and self.states.is_due():
            control.should_save = True

    def on_save(self, args, state, control, **_):
        with self.states.save(state.global_step) as folder:
            os.replace(Path(args.output_dir) / f"checkpoint-{state.global_step}", folder)
            (folder / "training_args.bin").unlink()  # a pickle, which nothing reads
            save_parts(self.parts, folder)


def train(trainer: Trainer, quantities: dict[str, str], run: TrainingRun, parts: Sequence[Stateful] = ()) -> list[dict]:
    """Train on from the last saved state, and return the training curve: rows (step, quantity, value) of the trainer's log.

    ``quantities`` maps keys of the log to the names of quantities; ``parts`` have a state that the trainer's lacks.
    """
    curve = run.states.restore_finished(trainer.model, parts)
    if curve is not None:
        return curve
    shutil.rmtree(run.states.folder / TRAINER_FOLDER, ignore_errors=True)  # what a killed run was saving
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(SaveState(run.states, parts))
    trainer.add_callback(Progress())
    latest = run.states.latest()
    trainer.train(resume_from_checkpoint=str(latest) if latest else None)
    curve = _training_curve(trainer, quantities)
    run.states.finish(trainer.model, curve, parts)
    return curve


def _training_curve(trainer: Trainer, quantities: dict[str, str]) -> list[dict]:
    return [
        {"step": entry["step"], "quantity": quantity, "value": float(entry[key])}
        for entry in trainer.state.log_history
        for key, quantity in quantities.items()
        if key in entry
    ]
