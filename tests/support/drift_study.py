"""Files of sampled tokens with known steps: clusters of tokens in prompts that are shifted from layer to layer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import yaml

from stages.drift.params import Drift
from stages.drift.sample_files import FINAL, UNTRAINED, ModelState, SampledTokens, SampleHeader, write_samples
from tests.support.drift_toy import clusters
from tests.support.project import ROOT

PROMPTS, PER_PROMPT, D, POINTS = 32, 2, 8, 8
# |shift| between neighbouring depths, along one direction.
STEPS = np.array([0.5, 0.4, 0.6, 0.5, 0.3, 0.5, 0.4])
# |shift| of a sibling from its reference at every depth, along another direction.
MOVED = 0.2
TASKS = ("one", "two")
COMMITTED = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
SMALL = COMMITTED["drift"] | {
    "organisms": ["base", "sft"], "prompts": PROMPTS, "blocks": 8, "components": 4, "projections": 20, "draws": 40, "basis": "raw"
}  # fmt: skip


def params(**changes) -> Drift:
    return Drift(**SMALL | changes)


def rows(prompts: int = PROMPTS) -> SampledTokens:
    """Return position 0 of every prompt beside its drawn tokens."""
    prompt = np.repeat(np.arange(prompts), PER_PROMPT + 1)
    return SampledTokens(prompt, np.tile(np.arange(PER_PROMPT + 1) * 3, prompts), "tokens")


def values(
    seed: int = 0, steps: np.ndarray = STEPS, moved: float = 0.0, sink: float = 1.0, prompts: int = PROMPTS
) -> np.ndarray:
    """Return (depths, rows, d): a cloud shifted by ``steps``, all of it by ``moved``; position 0 ``sink`` times as long."""
    start = clusters(3, prompts, PER_PROMPT + 1, D, seed).values + 5.0  # (rows, d)
    path = np.concatenate([[0.0], np.cumsum(steps)])  # (depths,)
    shifted = start[None] + path[:, None, None] * np.eye(D)[1] + moved * np.eye(D)[2]
    shifted[:, rows(prompts).position == 0] *= sink
    return shifted


def write(
    folder: Path, model: str, seed: int = 0, moved: float = 0.0, token_hash: str = "tokens", states: bool = True
) -> Path:
    """Write a model with an earlier checkpoint, half as far moved, and an untrained state whose layers lie far apart."""
    found = [(state(FINAL, 20), {task: values(seed + number, moved=moved) for number, task in enumerate(TASKS)})]
    if states:
        early = {task: values(seed + number, moved=moved - 0.1) for number, task in enumerate(TASKS)}
        far = {task: values(seed + number, 4 * STEPS) for number, task in enumerate(TASKS)}
        found = [(state("step-10", 10), early), *found, (state(UNTRAINED, -1), far)]
    path = folder / f"{model}.h5"
    shown = {task: rows()._replace(token_hash=token_hash) for task in TASKS}
    write_samples(path, SampleHeader(model, "float32", {"numpy": "2"}), shown, iter(found))
    return path


def state(name: str, step: int) -> ModelState:
    return ModelState(name, step, "toy", f"weights of {name}", "local")


def project(folder: Path, **changes) -> Path:
    """Make a project folder with samples of a base and its sibling."""
    content = COMMITTED | {"drift": SMALL | changes}
    content["study"] = COMMITTED["study"] | {"tasks": list(TASKS), "seeds": [0]}
    (folder / "params.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    samples = folder / "data/drift/samples"
    write(samples, "base-s0")
    write(samples, "sft-s0", moved=MOVED)
    return samples
