"""All checkpoints of a run: several at a time where that helps, and each fails without the others."""

from __future__ import annotations

import logging
import multiprocessing
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pandas as pd
from tqdm import tqdm

from stages.geometry.linear_algebra import use
from stages.models.loading import device
from stages.models.runs import SavedCheckpoint, open_saved, settings_hash, weight_identity
from stages.shared.scratch import scratch_key
from stages.shared.workers import worker_count
from stages.trace.checkpoint import CheckpointInputs, measure_checkpoint
from stages.trace.checkpoint_store import SCRATCH, restore, store
from stages.trace.params import Trace
from stages.trace.tables import CheckpointResult

log = logging.getLogger(__name__)


class TraceError(ValueError):
    """Checkpoints of a run failed; the message names each with its reason and the fix."""


def follow(
    run: str,
    saved: Sequence[SavedCheckpoint],
    inputs: CheckpointInputs,
    precision: str,
    params: Trace,
    scratch: Path = SCRATCH,
) -> tuple[dict[int, tuple[str, CheckpointResult]], dict[int, str]]:
    """Return the commit or weight hash and the result of each checkpoint, and why others failed; both by step.

    On a processor JOBS checkpoints (default: one for each core) are measured at a time, in processes of their own;
    results do not depend on it.
    """
    jobs = [(run, entry, inputs, precision, params, scratch) for entry in saved]
    results, failed = {}, {}
    with tqdm(total=len(saved), desc=run, unit="checkpoint", mininterval=5) as progress:
        for entry, outcome in zip(saved, _outcomes(jobs), strict=True):
            progress.update()
            if isinstance(outcome, Exception):
                log.error("%s, %s failed: %s", run, entry.revision, outcome, exc_info=outcome)
                failed[entry.step] = f"{type(outcome).__name__}: {outcome}"
            else:
                results[entry.step] = outcome
    return results, failed


def _outcomes(jobs: list[tuple]) -> Iterator[tuple[str, CheckpointResult] | Exception]:
    """Yield the result of each job, or what it raised, in order."""
    workers = min(worker_count(), len(jobs))
    # Forked children share what is imported, seconds for each; a GPU's state cannot be forked.
    if workers == 1 or device().type != "cpu" or "fork" not in multiprocessing.get_all_start_methods():
        for job in jobs:
            try:
                yield checkpoint_result(*job)
            except Exception as error:
                yield error
        return
    with ProcessPoolExecutor(workers, multiprocessing.get_context("fork")) as pool:
        for future in [pool.submit(checkpoint_result, *job) for job in jobs]:
            yield future.exception() or future.result()


def checkpoint_result(
    run: str, saved: SavedCheckpoint, inputs: CheckpointInputs, precision: str, params: Trace, scratch: Path
) -> tuple[str, CheckpointResult]:
    """Return commit or weight hash and result of one checkpoint, from the scratch folder where an earlier run left it.

    The scratch key holds all that the result depends on: weights, configuration and tokenizer files of the checkpoint,
    the inputs that it is shown, precision, params, device kind, libraries and code.
    """
    use("cuda" if device().type == "cuda" else "cpu")
    weights = weight_identity(saved)
    content = {
        "weights": weights,
        "settings": settings_hash(saved),
        "precision": precision,
        "inputs": inputs.digest(),
        "device": device().type,
        "params": params.model_dump(exclude={"organisms", "runs", "checkpoints", "text"}),
    }
    folder = scratch / f"{run}-{saved.step}-{scratch_key(content, __name__)}"
    result, unfinished = restore(folder), folder.with_name(f"{folder.name}-unfinished")
    if result is None:
        with open_saved(run, saved, weights) as checkpoint:
            result = measure_checkpoint(checkpoint, precision, inputs, params, unfinished)
        store(folder, result)
        if unfinished.is_dir():
            shutil.rmtree(unfinished)
    return weights, result


def checkpoint_table(
    saved: Sequence[SavedCheckpoint],
    results: dict[int, tuple[str, CheckpointResult]],
    failed: dict[int, str],
    token_hash: str,
) -> pd.DataFrame:
    """Return one row for each checkpoint, failed ones with their reason.

    A warning is logged where a checkpoint has the same weights as an earlier one.
    """
    rows, first_steps = [], {}
    for entry in saved:
        row = {
            "step": entry.step,
            "tokens": entry.tokens,
            "revision": entry.revision,
            "token_hash": token_hash,
            "same_as": None,
        }
        if entry.step in failed:
            row |= {"resolved_revision": "", "weight_hash": "", "missing": failed[entry.step]}
        else:
            commit, result = results[entry.step]
            row |= {
                "resolved_revision": "local" if entry.hub is None else commit,
                "weight_hash": result.weight_hash,
                "parameters": result.parameters,
                "missing": "",
                # training costs 6 N D operations: forward 2, backward 4 for each parameter and token
                "flops": 6.0 * result.parameters * entry.tokens if entry.tokens is not None else None,
            }
            if result.weight_hash in first_steps:
                row["same_as"] = first_steps[result.weight_hash]
                log.warning("%s has the same weights as step %d", entry.revision, first_steps[result.weight_hash])
            first_steps.setdefault(result.weight_hash, entry.step)
        rows.append(row)
    return pd.DataFrame(rows)


def require_all(run: str, failed: dict[int, str]) -> None:
    """Raise TraceError naming every checkpoint that failed."""
    if failed:
        reasons = "\n".join(f"  step {step}: {reason}" for step, reason in failed.items())
        raise TraceError(
            f"{run}: {len(failed)} checkpoints failed; the others are measured, and a rerun computes only these:\n{reasons}\n"
            "mend them, or remove them from data/registry/runs.yaml"
        )
