"""Collection on a real Slurm that lives as long as these tests; see slurm.py for what they need."""

import shutil
import subprocess
import threading
import time
from pathlib import Path

import pytest

from stages.activations.tokens import CollectionError
from stages.paradigms import collect, scheduler, shards
from tests.paradigms import test_collect
from tests.support import slurm

if REASON := slurm.reason_against():
    pytest.skip(f"no Slurm: {REASON}", allow_module_level=True)

project, small_shards = test_collect.project, test_collect.small_shards


@pytest.fixture(scope="module")
def private_slurm():
    with slurm.slurm() as environment:
        yield environment


@pytest.fixture
def alone(project, small_shards):
    """The files of a run in this process, of which nothing else is kept."""
    collect.main("sft-s0", "base-s0")
    alone = contents()
    for folder in (shards.scratch_folder(), collect.ACTIVATIONS):
        shutil.rmtree(folder)
    return alone


@pytest.fixture
def cluster(alone, private_slurm, monkeypatch):
    """Collection in two jobs; returns the ids and states of the jobs since then."""
    variables = {"PYTHONPATH": str(test_collect.ROOT), "COLLECT_CLUSTER": "slurm", "COLLECT_JOBS": "2"}
    for name, value in (private_slurm | variables).items():
        monkeypatch.setenv(name, value)
    earlier = slurm.jobs(private_slurm, "--states=all")
    return lambda: {
        job: state for job, state in slurm.jobs(private_slurm, "--states=all").items() if job not in earlier
    }


def contents():
    return {path: Path(path).read_bytes() for path in test_collect.outputs()}


def test_two_jobs_give_the_same_bytes(alone, cluster):
    collect.main("sft-s0", "base-s0")
    assert contents() == alone
    wait_until(lambda: set(cluster().values()) == {"COMPLETED"})  # the result is there a moment earlier
    assert len(cluster()) == 2
    for job in cluster():
        assert f"Starting with JobEnvironment(job_id={job}, " in log(job, "out")
        assert "Job completed successfully" in log(job, "out")


def test_a_cancelled_job_names_its_log_and_the_next_run_resumes(alone, cluster, monkeypatch, caplog):
    monkeypatch.setattr(scheduler, "SECONDS_BETWEEN_QUEUES", 1.0)
    cancel = threading.Thread(target=cancel_one, args=(cluster,))
    cancel.start()
    with pytest.raises(
        CollectionError, match=r"job \d+_1 failed, its log is .*submitit.*_1_0_log.err; finished shards"
    ):
        collect.main("sft-s0", "base-s0")
    cancel.join()
    wait_until(lambda: sorted(cluster().values()) == ["CANCELLED", "COMPLETED"])
    assert not collect.ACTIVATIONS.exists()
    with caplog.at_level("INFO"):
        collect.main("sft-s0", "base-s0")
    assert "sft-s0: 2 of 4 shards are there already" in caplog.text
    assert contents() == alone


def cancel_one(cluster):
    """The second job, as soon as it runs: long before it has imported what it needs."""
    wait_until(lambda: any(state == "RUNNING" for job, state in cluster().items() if job.endswith("_1")))
    subprocess.run(["scancel", next(job for job in cluster() if job.endswith("_1"))], check=True)


def log(job, stream):
    return next(scheduler.LOGS.parent.glob(f"*/{job}_0_log.{stream}")).read_text()


def wait_until(ready):
    deadline = time.monotonic() + 60
    while not ready():
        assert time.monotonic() < deadline
        time.sleep(0.1)
