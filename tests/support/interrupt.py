"""Kill a collection at random moments, let it finish, and compare with one that ran undisturbed."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

from tests.support.project import ROOT

SCRATCH, OUT = Path(".dvc/tmp/collect"), Path("data/activations")
# Shards of a few prompts, each held up a little, so that there is something to interrupt.
CHILD = """
import sys, time
from stages.paradigms import collect, shards
shards.SHARD_TOKENS = 20
def slowly(function):
    def run(*arguments):
        time.sleep(0.02)
        return function(*arguments)
    return run
shards.Sink.put = slowly(shards.Sink.put)
shards.Dataset.__getitem__ = slowly(shards.Dataset.__getitem__)
print("ready", flush=True)
collect.main(*sys.argv[1:])
"""


class Report(NamedTuple):
    killed: int
    """Runs that were killed before they ended."""
    resumed: int
    """Runs that found shards."""
    seconds: float
    """Of an undisturbed run, from its start of work."""
    same_bytes: bool


def interrupt(model: str, reference: str, kills: int, seed: int) -> Report:
    """Kill a collection, let it finish and compare, in the current folder, a project whose params and models are in place."""
    chance = random.Random(seed)
    child, start = _start(model, reference), time.perf_counter()
    assert child.wait() == 0
    seconds, whole = time.perf_counter() - start, _bytes()
    killed = resumed = 0
    while killed < kills:
        if killed % 3 == 0:  # each scratch folder lives through three kills
            shutil.rmtree(SCRATCH)
            shutil.rmtree(OUT)
        resumed += any(SCRATCH.glob("*/[0-9]*"))
        child = _start(model, reference)
        time.sleep(chance.uniform(0, seconds))
        child.send_signal(signal.SIGKILL)
        killed += child.wait() == -signal.SIGKILL
    resumed += any(SCRATCH.glob("*/[0-9]*"))
    assert _start(model, reference).wait() == 0
    return Report(killed, resumed, seconds, _bytes() == whole)


def _start(model: str, reference: str) -> subprocess.Popen:
    """Start a child that has imported everything and begins to work."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "DEVICE": "cpu"}
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, model, reference],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert child.stdout.readline() == b"ready\n"
    return child


def _bytes() -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(OUT.rglob("*")) if path.is_file()}
