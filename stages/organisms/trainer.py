"""What every TRL run of the project shares: arguments, checkpoints along the way, the curve."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import TrainerCallback


def shared_arguments(steps: int, learning_rate: float, seed: int, folder: Path) -> dict:
    """Arguments of a run: nothing saved or reported by the trainer itself, full precision on a CPU."""
    cpu = not torch.cuda.is_available()
    return {
        "output_dir": str(folder),
        "max_steps": steps,
        "learning_rate": learning_rate,
        "adam_beta2": 0.95,
        "optim": "adamw_torch_fused",
        "logging_steps": max(1, steps // 40),
        "save_strategy": "no",
        "report_to": [],
        "disable_tqdm": True,
        "use_cpu": cpu,
        "bf16": not cpu,
        "gradient_checkpointing": False,
        "dataloader_num_workers": 0,
        "dataloader_pin_memory": not cpu,
        "seed": seed,
    }


def evenly_spaced(steps: int, count: int) -> list[int]:
    """``count`` steps from the first quarter-octave to the last, the last included."""
    return sorted({round(steps * (index + 1) / count) for index in range(count)})


class SaveCheckpoints(TrainerCallback):
    """Save the model as ``folder/step-N`` at the given steps."""

    def __init__(self, folder: Path, steps: list[int]):
        self.folder, self.steps = folder, set(steps)

    def on_step_end(self, args, state, control, model=None, **_):
        if state.global_step in self.steps:
            model.save_pretrained(self.folder / f"step-{state.global_step}")


def curve(log_history: list[dict], names: dict[str, str]) -> list[dict]:
    """Tidy rows (step, quantity, value) from the trainer's log; ``names`` maps log keys to quantities."""
    return [
        {"step": entry["step"], "quantity": quantity, "value": float(entry[key])}
        for entry in log_history
        for key, quantity in names.items()
        if key in entry
    ]
