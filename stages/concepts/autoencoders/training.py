"""Train sparse autoencoders on one stream of states, with checkpoints from which a cut-off run goes on."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from tqdm import tqdm

from stages.concepts.autoencoders.flat import Flat, unit
from stages.concepts.autoencoders.hierarchical import Hierarchical, normalise, project_gradients
from stages.concepts.autoencoders.losses import Weights, loss
from stages.shared.digests import BLANK, fill_digest, require_digest
from stages.shared.files import FileError, atomic

# Seconds between two checkpoints, at least.
SECONDS = 60.0
# The one key of a file's metadata.
CONTENT = "content"
# Points of a training curve.
POINTS = 40
# Share of the steps after which the learning rate falls linearly, to 0.
DECAY = 0.8


class CheckpointError(FileError):
    """A file of an autoencoder is missing, damaged or of another configuration; the message says which and the fix."""


class Scale(NamedTuple):
    """A change of units: autoencoders see (x - mean) / scale, so that their settings fit every model."""

    mean: Tensor
    """Mean state (d,)."""
    scale: float
    """Root mean square distance of states from the mean, over the root of d."""

    def inward(self, x: Tensor) -> Tensor:
        """Return states (n, d) as autoencoders see them."""
        return (x - self.mean) / self.scale

    def outward(self, x: Tensor) -> Tensor:
        """Return what an autoencoder gives (n, d) as states of the language model."""
        return x * self.scale + self.mean


class TrainingPlan(NamedTuple):
    """The steps, rates and loss of the training of an autoencoder."""

    steps: int
    batch: int
    """Tokens of a step."""
    frozen: int
    """Number of first steps in which the decoder stands still."""
    learning_rate: float
    warmup: int
    """Steps up to the full learning rate."""
    clip: float
    """Largest norm of the gradient."""
    weights: Weights
    """Weights of the terms of a hierarchical autoencoder's loss."""
    metric: Tensor | None = None
    """Σ (d, d) of the causal term."""


class AutoencoderRun(NamedTuple):
    """One autoencoder under way; its weights, optimiser and progress change."""

    name: str
    model: Hierarchical | Flat
    plan: TrainingPlan
    optimiser: torch.optim.Adam
    progress: dict
    """``step``, the number of steps done; ``curve``, rows of step, term, value."""


def begin(name: str, model: Hierarchical | Flat, plan: TrainingPlan) -> AutoencoderRun:
    """Return a run at step 0, optimised by Adam."""
    optimiser = torch.optim.Adam(model.parameters(), lr=plan.learning_rate, betas=(0.9, 0.999), fused=True)
    return AutoencoderRun(name, model, plan, optimiser, {"step": 0, "curve": []})


def train(
    runs: Sequence[AutoencoderRun],
    portions: Callable[[int], Iterator[Tensor]],
    batches_per_portion: int,
    scale: Scale,
    save_run: Callable[[AutoencoderRun], None],
    seconds: float = SECONDS,
) -> None:
    """Take every run to the last step; all have as many, and see the same batches.

    ``portions(n)`` gives portions of ``batches_per_portion`` batches each, from number n on; ``save_run`` is called at
    the end, and every ``seconds`` between portions. Raises ValueError where a loss is not finite, naming run and step.
    """
    steps, size = runs[0].plan.steps, runs[0].plan.batch
    first = min(run.progress["step"] for run in runs) // batches_per_portion
    source, saved = portions(first), time.monotonic()
    done = sum(run.progress["step"] for run in runs)
    with tqdm(total=steps * len(runs), initial=done, desc="autoencoders", unit="step", mininterval=5) as bar:
        for number in range(first, -(-steps // batches_per_portion)):
            batches = scale.inward(next(source)).split(size)[
                : min(batches_per_portion, steps - number * batches_per_portion)
            ]
            for step, batch in enumerate(batches, number * batches_per_portion):
                for run in runs:
                    if run.progress["step"] == step:
                        _step(run, batch, step)
                        bar.update()
            if time.monotonic() - saved > seconds:
                for run in runs:
                    save_run(run)
                saved = time.monotonic()
    for run in runs:
        save_run(run)


def _step(run: AutoencoderRun, x: Tensor, step: int) -> None:
    """Take one step of one run on a batch ``x`` (tokens, d)."""
    model, plan = run.model, run.plan
    for group in run.optimiser.param_groups:
        group["lr"] = plan.learning_rate * _schedule(step, plan)
    _let_decoder_learn(model, step >= plan.frozen)
    try:
        total, terms = _loss(model, x, plan)
    except ValueError as error:
        raise ValueError(f"{run.name}, step {step}: {error}") from error
    total.backward()
    if isinstance(model, Hierarchical):
        project_gradients(model)
    nn.utils.clip_grad_norm_(model.parameters(), plan.clip)
    run.optimiser.step()
    run.optimiser.zero_grad()
    with torch.no_grad():
        normalise(model) if isinstance(model, Hierarchical) else model.decoder.copy_(unit(model.decoder))
    run.progress["step"] = step + 1
    if step % max(1, plan.steps // POINTS) == 0 or step + 1 == plan.steps:
        run.progress["curve"] += [{"step": step, "term": name, "value": value.item()} for name, value in terms.items()]


def _loss(model: Hierarchical | Flat, x: Tensor, plan: TrainingPlan) -> tuple[Tensor, Mapping[str, Tensor]]:
    """Return the loss and its terms; that of a flat autoencoder is the unexplained share and the sparsity."""
    if isinstance(model, Hierarchical):
        return loss(model, x, model(x), plan.weights, plan.metric)
    codes = model.encode(x)
    lost = (x - model.decode(codes)).square().sum() / (x - x.mean(dim=0)).square().sum()
    total = lost + plan.weights.sparsity * codes.sum() / len(x)
    if not torch.isfinite(total):
        raise ValueError(
            f"the loss is not finite (reconstruction {lost.item():.3g}): lower the learning rate, or check the activations"
        )
    return total, {"reconstruction": lost}


def _schedule(step: int, plan: TrainingPlan) -> float:
    """Return the factor of the learning rate: a linear warm-up, a plateau, a linear decay."""
    left = (plan.steps - step) / (plan.steps * (1 - DECAY))
    return min(1.0, (step + 1) / max(1, plan.warmup), left)


def _let_decoder_learn(model: Hierarchical | Flat, learns: bool) -> None:
    """Set whether the decoder of a hierarchical autoencoder learns."""
    if isinstance(model, Hierarchical):
        for weight in (model.parents, model.up, model.atoms):
            weight.requires_grad_(learns)


def save(path: Path, run: AutoencoderRun, scale: Scale, configuration: Mapping, resumable: bool) -> None:
    """Write weights and configuration into one safetensors file, complete or not at all.

    ``resumable`` adds what training needs to go on: the optimiser's state, and the progress.
    """
    tensors = {f"model.{name}": value for name, value in run.model.state_dict().items()}
    names = [name for name, _ in run.model.named_parameters()]
    for index, state in run.optimiser.state_dict()["state"].items() if resumable else ():
        tensors |= {f"adam.{names[index]}.{key}": value for key, value in state.items()}
    tensors |= {"scale.mean": scale.mean, "scale.scale": torch.tensor(scale.scale, dtype=torch.float64)}
    content = {"progress": run.progress if resumable else {}, "configuration": configuration}
    tensors = {name: value.contiguous() for name, value in tensors.items()}
    content["digest"] = BLANK.decode()
    with atomic(path) as temporary:  # one entry of metadata: several are written in any order
        save_file(tensors, temporary, {CONTENT: json.dumps(content, sort_keys=True)})
        fill_digest(temporary)


def resume(path: Path, run: AutoencoderRun, configuration: Mapping) -> Scale:
    """Put what was saved under ``path`` into ``run``; return the scale of the states.

    Raises CheckpointError where the file is missing, damaged or of another configuration.
    """
    tensors, content = _read(path, configuration)
    run.model.load_state_dict(_weights(tensors))
    state: dict[int, dict[str, Tensor]] = {}
    for index, (name, _) in enumerate(run.model.named_parameters()):
        prefix = f"adam.{name}."
        if moments := {key[len(prefix) :]: value for key, value in tensors.items() if key.startswith(prefix)}:
            state[index] = moments
    run.optimiser.load_state_dict({"state": state, "param_groups": run.optimiser.state_dict()["param_groups"]})
    run.progress.update(content["progress"])
    return Scale(tensors["scale.mean"], float(tensors["scale.scale"]))


def load_weights(path: Path, model: Hierarchical | Flat, configuration: Mapping) -> Scale:
    """Put the weights saved under ``path`` into ``model``, for use; return the scale. Raises what `resume` does."""
    tensors, _ = _read(path, configuration)
    model.load_state_dict(_weights(tensors))
    model.requires_grad_(False)
    return Scale(tensors["scale.mean"], float(tensors["scale.scale"]))


def _weights(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix("model."): value for name, value in tensors.items() if name.startswith("model.")}


def _read(path: Path, configuration: Mapping) -> tuple[dict[str, Tensor], dict]:
    """Return all tensors and the content of the metadata, once the configuration is the expected one."""
    if not path.is_file():
        raise CheckpointError(f"{path} not found: run `dvc repro concepts-autoencode` or `dvc pull`")
    try:
        require_digest(path)
        with safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            content = json.loads(file.metadata()[CONTENT])
        recorded = content["configuration"]
    except (OSError, SafetensorError, ValueError, TypeError, KeyError) as error:
        raise CheckpointError(
            f"{path} is no complete autoencoder ({error}): remove it, or `dvc checkout` it"
        ) from error
    if (difference := _difference(recorded, configuration)) is not None:
        raise CheckpointError(
            f"{path} is of another configuration ({difference}): remove it, or set the value back; nothing was changed"
        )
    return tensors, content


def _difference(recorded: Mapping, expected: Mapping) -> str | None:
    """Return the first key in which two configurations differ, with both values; None where they are the same."""
    expected = json.loads(json.dumps(expected))
    for key in sorted({*recorded, *expected}):
        if recorded.get(key) != expected.get(key):
            return f"{key} {recorded.get(key)!r}, expected {expected.get(key)!r}"
    return None
