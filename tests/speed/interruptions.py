"""Kill a collection at many random moments; it must end in the bytes of an undisturbed one.

Usage: python -m tests.speed.interruptions [--kills N]    (after `dvc repro`; works in a copy of the project)
"""

from __future__ import annotations

import argparse
import logging
import os
import shutil
import tempfile
from pathlib import Path

from tests.support.interrupt import ROOT, interrupt

NEEDED = ("params.yaml", "data/tasks", "data/models/base-s0", "data/models/sft-s0")

if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    kills = parser.parse_args().kills
    with tempfile.TemporaryDirectory() as folder:
        for name in NEEDED:
            target = Path(folder) / name
            target.parent.mkdir(parents=True, exist_ok=True)
            copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
            copy(ROOT / name, target)
        os.chdir(folder)
        report = interrupt("sft-s0", "base-s0", kills, seed=0)
    logging.info(
        "%d runs killed, an undisturbed one takes %.1f s; %d runs found shards of a killed one; same bytes at the end: %s",
        report.killed, report.seconds, report.resumed, report.same_bytes,
    )  # fmt: skip
