"""Run a trainer of TRL: the arguments, progress bar, checkpoints and training curve that all runs share."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm
from transformers import PrinterCallback, Trainer, TrainerCallback


class TrainingRun(NamedTuple):
    """The folder that a run writes to, its seed, and what the trainer calls between its steps."""

    folder: Path
    seed: int
    callbacks: list[TrainerCallback]


def shared_arguments(steps: int, learning_rate: float, run: TrainingRun) -> dict:
    """Return the arguments of a run in full precision on the CPU, where equal seeds give equal bytes.

    The trainer itself saves and reports nothing.
    """
    return {
        "output_dir": str(run.folder),
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
        self.bar = tqdm(total=state.max_steps, mininterval=10)

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
            model.save_pretrained(self.folder / f"step-{state.global_step}")


def train(trainer: Trainer, quantities: dict[str, str]) -> list[dict]:
    """Train, and return the training curve: rows (step, quantity, value) of the trainer's log.

    ``quantities`` maps keys of the log to the names of quantities.
    """
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(Progress())
    trainer.train()
    return [
        {"step": entry["step"], "quantity": quantity, "value": float(entry[key])}
        for entry in trainer.state.log_history
        for key, quantity in quantities.items()
        if key in entry
    ]
