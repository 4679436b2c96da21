"""Kill every stage of a small pipeline at random moments; what is rebuilt must have the bytes of an undisturbed run.

Usage: python -m tests.speed.kills [--kills N] [--ready FOLDER]    (half an hour and more; works in copies of the project)

A kill is SIGKILL to a whole process group. The first half hits `dvc repro`, wherever it is; the second half the command
of each stage in turn, its outputs removed before, as DVC does. ``--ready`` names a copy that has run undisturbed.
"""

from __future__ import annotations

import argparse
import hashlib
import logging
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

from tests.support.project import ROOT

log = logging.getLogger(__name__)

RESULTS = ("metrics", "plots", "data")
IGNORED = ("plots/report.html",)


def copy_of_project(folder: Path) -> Path:
    """Clone the project into ``folder`` and make its pipeline small."""
    subprocess.run(["git", "clone", "-q", ROOT, folder], check=True)
    (folder / "dvc.lock").unlink()
    subprocess.run([sys.executable, "-m", "tests.support.small_pipeline"], cwd=folder, check=True)
    return folder


def start(command: list[str], folder: Path) -> subprocess.Popen:
    """Start ``command`` as a process group of its own."""
    return subprocess.Popen(
        command, cwd=folder, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )


def killed_after(command: list[str], folder: Path, seconds: float) -> bool:
    """Run ``command``, kill its process group after so many ``seconds``; return whether it was still running."""
    process = start(command, folder)
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return True
    finally:
        process.stderr.close()
    return False


def repro(folder: Path) -> None:
    """Run the pipeline to its end; where a kill left dvc.lock torn, without it: finished stages come from the run cache."""
    if is_torn(folder / "dvc.lock"):
        log.info("dvc.lock is torn: removed")
        (folder / "dvc.lock").unlink()
    subprocess.run(["dvc", "repro", "-q"], cwd=folder, check=True)


def is_torn(lock: Path) -> bool:
    """Return whether dvc.lock is there and DVC cannot read it."""
    if not lock.exists():
        return False
    try:
        stages = yaml.safe_load(lock.read_text(encoding="utf-8"))["stages"]
        return any("cmd" not in stage for stage in stages.values())
    except (yaml.YAMLError, TypeError, KeyError, AttributeError):
        return True


def digests(folder: Path) -> dict[str, str]:
    """Return the hash of every result."""
    files = sorted(path for name in RESULTS for path in (folder / name).rglob("*") if path.is_file())
    names = {str(path.relative_to(folder)): path for path in files if "__pycache__" not in path.parts}
    return {name: hashlib.md5(path.read_bytes()).hexdigest() for name, path in names.items() if name not in IGNORED}


def kill_pipeline(folder: Path, kills: int, chance: random.Random) -> int:
    """Kill ``dvc repro`` at random moments, each run going on from the one before, until it is through."""
    hits = 0
    for _ in range(kills):
        if is_torn(folder / "dvc.lock"):
            log.info("dvc.lock is torn: removed")
            (folder / "dvc.lock").unlink()
        hits += killed_after(["dvc", "repro", "-q"], folder, chance.uniform(5, 90))
    repro(folder)
    return hits


def kill_stages(folder: Path, kills: int, chance: random.Random) -> tuple[int, int]:
    """Kill the command of random stages of a finished pipeline and run it again; return kills, and stages that differ."""
    stages = yaml.safe_load((folder / "dvc.lock").read_text(encoding="utf-8"))["stages"]
    hits = wrong = 0
    for name in chance.sample(sorted(stages), min(kills, len(stages))):
        outputs = [folder / output["path"] for output in stages[name].get("outs", [])]
        before = {path: digest(path) for path in outputs}
        for path in outputs:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        command = ["bash", "-c", stages[name]["cmd"]]
        hit = killed_after(command, folder, chance.uniform(2, 20))
        hits += hit
        if hit:
            subprocess.run(command, cwd=folder, check=True, capture_output=True)
        same = {path: digest(path) for path in outputs} == before
        wrong += not same
        log.info("%s: %s, %s", name, "killed" if hit else "ended before", "same bytes" if same else "OTHER BYTES")
    return hits, wrong


def digest(path: Path) -> str:
    """Return a hash of a file, or of all files of a folder."""
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    content = b"".join(str(file.relative_to(path)).encode() + file.read_bytes() for file in files if file.is_file())
    return hashlib.md5(content).hexdigest()


def main(kills: int, ready: Path | None) -> None:
    chance, began = random.Random(0), time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        undisturbed = ready or copy_of_project(Path(scratch) / "undisturbed")
        repro(undisturbed)
        disturbed = copy_of_project(Path(scratch) / "disturbed")
        hits = kill_pipeline(disturbed, kills // 2, chance)
        wanted, got = digests(undisturbed), digests(disturbed)
        differing = [name for name in sorted(wanted.keys() | got.keys()) if wanted.get(name) != got.get(name)]
        log.info("%d kills of dvc repro; files that differ: %s", hits, differing or "none")
        stage_hits, wrong = kill_stages(disturbed, kills - kills // 2, chance)
        log.info("%d kills of stages; stages that differ: %d", stage_hits, wrong)
    log.info("%.0f s", time.monotonic() - began)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--ready", type=Path)
    main(**vars(parser.parse_args()))
