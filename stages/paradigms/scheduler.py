"""Compute the missing shards: in this process, in several local processes, or on a Slurm cluster.

Environment variables, because none of them changes what is computed:

    COLLECT_CLUSTER     unset: in this process; local: several processes here; slurm: an array of Slurm jobs
    COLLECT_JOBS        number of jobs (default: one for each visible GPU, at least one)
    COLLECT_PARAMETERS  JSON for submitit, e.g. {"slurm_partition": "gpu", "gpus_per_node": 1, "timeout_min": 240}
    COLLECT_SCRATCH     folder of the shards (default .dvc/tmp/collect); shared between the nodes of a cluster
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from tqdm import tqdm

from stages.activations.params import Collect
from stages.activations.passes import require_fit
from stages.activations.tokens import CollectionError
from stages.models.capture import self_test, text_config
from stages.models.checkpoint import Checkpoint
from stages.models.loading import device, load_model
from stages.paradigms import shards
from stages.paradigms.shards import ShardPlan

CLUSTERS = ("local", "slurm")
LOGS = Path(".dvc/tmp/submitit/%j")
SECONDS_BETWEEN_LOOKS, SECONDS_BETWEEN_QUEUES = 2.0, 30.0
log = logging.getLogger(__name__)


class Work(NamedTuple):
    """The checkpoint, plans and params that a job needs to compute shards of one model."""

    checkpoint: Checkpoint
    precision: str
    device: str
    """"cpu" or "cuda", from `device_kind`"""
    plans: list[ShardPlan]
    params: Collect

    def missing(self) -> list[tuple[int, int]]:
        """Return (plan, shard) of each shard that is not there yet."""
        return [(p, shard) for p, plan in enumerate(self.plans) for shard in plan.missing()]

    def tokens(self, p: int, shard: int) -> int:
        """Return the number of tokens of shard ``shard`` of plan ``p``."""
        plan = self.plans[p]
        return int(sum(plan.tokens.lengths[rows].sum() for rows in plan.shards[shard]))


def device_kind() -> str:
    """Return cpu or cuda, where the shards will be computed: on Slurm another machine, so that nothing is probed here."""
    if os.environ.get("COLLECT_CLUSTER") != "slurm":
        return device().type
    name = os.environ.get("DEVICE", "auto").partition(":")[0]
    asks_for_gpus = any("gpu" in key or "gres" in key for key in _parameters())
    return ("cuda" if asks_for_gpus else "cpu") if name in ("", "auto") else name


def compute_missing(work: Work) -> None:
    """Compute every shard that is not there yet, and return when all are; errors are those of the first failed job."""
    missing, total = work.missing(), sum(len(plan.shards) for plan in work.plans)
    if len(missing) < total:
        log.info("%s: %d of %d shards are there already", work.checkpoint.name, total - len(missing), total)
    cluster = os.environ.get("COLLECT_CLUSTER", "")
    if cluster and cluster not in CLUSTERS:
        raise CollectionError(
            f"the environment variable COLLECT_CLUSTER is {cluster!r}: set it to {' or '.join(CLUSTERS)}, or unset it to work in this process"
        )
    if missing and not cluster:
        compute_share(work, missing)
    elif missing:
        _submit(work, missing, cluster)


def compute_share(work: Work, share: Sequence[tuple[int, int]], device_name: str = "") -> None:
    """Load the model once and compute the shards of ``share``, one after the other, on a device other than DEVICE if named."""
    if device_name:
        os.environ["DEVICE"] = device_name
    model = load_model(work.checkpoint, work.precision)
    if model.device.type != work.device:
        raise CollectionError(
            f"the shards were planned for {work.device}, the model is on {model.device.type}, which rounds otherwise: "
            f"set DEVICE={model.device.type} and run the stage again, or give the job a device of the kind {work.device}"
        )
    self_test(model)
    for p in sorted({p for p, _ in share}):
        require_fit(model, work.plans[p].tokens)
    config = text_config(model)
    log.info(
        "%s: %s, %d layers, width %d, %s on %s",
        work.checkpoint.name,
        work.checkpoint.architecture,
        config.num_hidden_layers,
        config.hidden_size,
        work.precision,
        model.device,
    )
    budget, start, done = work.params.tokens_per_batch, time.perf_counter(), 0
    total = sum(work.tokens(*item) for item in share)
    with tqdm(total=total, desc=work.checkpoint.name, unit=" tokens", unit_scale=True, disable=None) as bar:
        for p, shard in share:
            if work.plans[p].path(shard).is_dir():
                continue  # a job that Slurm started again has done it before
            budget = shards.compute(model, work.plans[p], shard, work.params, budget, bar.update)
            done += work.tokens(p, shard)
    log.info("%s: %d tokens, %.0f tokens/s", work.checkpoint.name, done, done / (time.perf_counter() - start))


def _submit(work: Work, missing: list[tuple[int, int]], cluster: str) -> None:
    """Deal the shards out to jobs and wait for them; the first failure is raised with its log."""
    import submitit  # only for jobs

    gpus = torch.cuda.device_count() if os.environ.get("DEVICE", "cuda").startswith("cuda") else 0
    jobs = min(_number("COLLECT_JOBS", max(1, gpus)), len(missing))
    executor = submitit.AutoExecutor(folder=LOGS, cluster=cluster)
    # Without gpus_per_node, submitit hides the GPUs from local jobs.
    defaults = {"name": "collect", "timeout_min": 24 * 60}
    if cluster == "local" and gpus:
        defaults["gpus_per_node"] = gpus
    try:
        executor.update_parameters(**{**defaults, **_parameters()})
    except (NameError, TypeError, ValueError, AssertionError) as error:
        raise CollectionError(
            f"the environment variable COLLECT_PARAMETERS is not what submitit takes: {error}"
        ) from error
    with executor.batch():
        submitted = [
            # Local processes share the machine's GPUs; a Slurm job sees only its own.
            executor.submit(
                compute_share, work, missing[i::jobs], f"cuda:{i % gpus}" if cluster == "local" and gpus else ""
            )
            for i in range(jobs)
        ]
    log.info(
        "%s: %d shards in %d jobs on %s, logs in %s", work.checkpoint.name, len(missing), jobs, cluster, LOGS.parent
    )
    _wait(work, missing, submitted, cluster)


def _wait(work: Work, missing: list[tuple[int, int]], submitted: list, cluster: str) -> None:
    """Show the shards as they come in until every job ended; raise what the first failed job raised."""
    total, looked = sum(work.tokens(*item) for item in missing), time.monotonic()
    absent, lost = set(), set()  # lost: absent from the queue twice in a row, as a result can be seen late
    with tqdm(total=total, desc=work.checkpoint.name, unit=" tokens", unit_scale=True, disable=None) as bar:
        while (unfinished := {job.job_id for job in submitted if not job.done()}) - lost:
            left = set(work.missing())
            bar.n = total - sum(work.tokens(*item) for item in left)
            bar.refresh()
            time.sleep(SECONDS_BETWEEN_LOOKS)
            if cluster == "slurm" and time.monotonic() - looked >= SECONDS_BETWEEN_QUEUES:
                absent_before, absent, looked = absent, _not_queued(unfinished), time.monotonic()
                lost = absent_before & absent
        bar.update(total - bar.n)
    for job in submitted:
        killed = CollectionError("it left Slurm's queue without a result (cancelled, out of memory, node lost?)")
        if error := killed if job.job_id in unfinished else job.exception():
            raise CollectionError(
                f"job {job.job_id} failed, its log is {job.paths.stderr}; finished shards are kept, run the stage again: {error}"
            ) from error
    if left := work.missing():
        raise CollectionError(f"{len(left)} shards are missing although every job ended: run the stage again")


def _not_queued(jobs: set[str]) -> set[str]:
    """Return the jobs that Slurm neither runs nor will run; without accounting, submitit waits for a killed job for ever."""
    command = ["squeue", "--noheader", "--array", "--format=%i", f"--user={os.getuid()}"]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace")
    return jobs - set(done.stdout.split()) if done.returncode == 0 else set()


def _number(name: str, default: int) -> int:
    value = os.environ.get(name, str(default))
    if not (value.isascii() and value.isdigit()) or int(value) < 1:
        raise CollectionError(f"the environment variable {name} is {value!r}: expected a whole number from 1 upwards")
    return int(value)


def _parameters() -> dict:
    value = os.environ.get("COLLECT_PARAMETERS", "{}")
    try:
        parsed = json.loads(value)
    except json.JSONDecodeError as error:
        raise CollectionError(f"the environment variable COLLECT_PARAMETERS is not JSON ({error}): {value}") from error
    if not isinstance(parsed, dict):
        raise CollectionError(f"the environment variable COLLECT_PARAMETERS must be a JSON object, found {value}")
    return parsed
