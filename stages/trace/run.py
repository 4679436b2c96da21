"""All checkpoints of a run, one failing without the others, several at a time where that helps."""

from __future__ import annotations

import logging
import multiprocessing
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pandas as pd
from tqdm import tqdm

from stages.geometry.linear_algebra import use
from stages.models.loading import device
from stages.models.runs import Saved, identity, opened
from stages.shared.scratch import scratch_key
from stages.trace.checkpoint import Material, trace_checkpoint
from stages.trace.finished import SCRATCH, restore, store
from stages.trace.params import Trace
from stages.trace.tables import Found

log = logging.getLogger(__name__)


class TraceError(ValueError):
    """Checkpoints of a run failed; the message names each with its reason and the fix."""


def follow(
    run: str, saved: Sequence[Saved], material: Material, precision: str, params: Trace, scratch: Path = SCRATCH
) -> tuple[dict[int, tuple[str, Found]], dict[int, str]]:
    """What was found of each checkpoint, with its `identity`, and why others failed; both by step.

    On a processor JOBS checkpoints (default: one for each core) are worked on at a time, in processes of their own;
    results do not depend on it.
    """
    jobs = [(run, one, material, precision, params, scratch) for one in saved]
    found, failed = {}, {}
    with tqdm(total=len(saved), desc=run, unit="checkpoint", mininterval=5) as progress:
        for one, outcome in zip(saved, _outcomes(jobs), strict=True):
            progress.update()
            if isinstance(outcome, Exception):
                log.error("%s, %s failed: %s", run, one.revision, outcome, exc_info=outcome)
                failed[one.step] = f"{type(outcome).__name__}: {outcome}"
            else:
                found[one.step] = outcome
    return found, failed


def _outcomes(jobs: list[tuple]) -> Iterator[tuple[str, Found] | Exception]:
    """The result of each job, or what it raised, in order."""
    workers = min(int(os.environ.get("JOBS", os.cpu_count() or 1)), len(jobs))
    # Forked children share what is imported, seconds for each; a GPU's state cannot be forked.
    if workers == 1 or device().type != "cpu" or "fork" not in multiprocessing.get_all_start_methods():
        for job in jobs:
            try:
                yield trace_saved(*job)
            except Exception as error:
                yield error
        return
    with ProcessPoolExecutor(workers, multiprocessing.get_context("fork")) as pool:
        for future in [pool.submit(trace_saved, *job) for job in jobs]:
            yield future.exception() or future.result()


def trace_saved(
    run: str, saved: Saved, material: Material, precision: str, params: Trace, scratch: Path
) -> tuple[str, Found]:
    """Identity of one checkpoint, and what is measured of it; from the scratch folder where an earlier run left it."""
    use("cuda" if device().type == "cuda" else "cpu")
    known = identity(saved)
    content = {
        "weights": known, "precision": precision, "material": material.digest(), "device": device().type,
        "params": params.model_dump(exclude={"organisms", "runs", "checkpoints", "text"}),
    }  # fmt: skip
    folder = scratch / f"{run}-{saved.step}-{scratch_key(content, __name__)}"
    found = restore(folder)
    if found is None:
        with opened(run, saved, known) as checkpoint:
            found = trace_checkpoint(checkpoint, precision, material, params)
        store(folder, found)
    return known, found


def checkpoint_table(
    saved: Sequence[Saved], found: dict[int, tuple[str, Found]], failed: dict[int, str], token_hash: str
) -> pd.DataFrame:
    """One row for each checkpoint, failed ones with their reason; the same weights under two names are reported."""
    rows, first = [], {}
    for one in saved:
        row = {
            "step": one.step,
            "tokens": one.tokens,
            "revision": one.revision,
            "token_hash": token_hash,
            "same_as": None,
        }
        if one.step in failed:
            row |= {"resolved_revision": "", "weight_hash": "", "missing": failed[one.step]}
        else:
            known, of_one = found[one.step]
            row |= {
                "resolved_revision": "local" if one.hub is None else known, "weight_hash": of_one.weight_hash,
                "parameters": of_one.parameters, "missing": "",
                # training costs 6 N D operations: forward 2, backward 4 for each parameter and token
                "flops": 6.0 * of_one.parameters * one.tokens if one.tokens is not None else None,
            }  # fmt: skip
            if of_one.weight_hash in first:
                row["same_as"] = first[of_one.weight_hash]
                log.warning("%s has the same weights as step %d", one.revision, first[of_one.weight_hash])
            first.setdefault(of_one.weight_hash, one.step)
        rows.append(row)
    return pd.DataFrame(rows)


def require_all(run: str, failed: dict[int, str]) -> None:
    """Raise TraceError naming every checkpoint that failed."""
    if failed:
        named = "\n".join(f"  step {step}: {reason}" for step, reason in failed.items())
        raise TraceError(
            f"{run}: {len(failed)} checkpoints failed; the others are measured, and a rerun computes only these:\n{named}\n"
            "mend them, or remove them from data/registry/runs.yaml"
        )
