"""Pin the local files behind a training run, which DVC cannot see: python -m stages.drift.pin RUN.

What is written changes with weights, configuration and tokenizer of every local checkpoint; it is empty for the hub's.
"""

from __future__ import annotations

from pathlib import Path

from stages.models.runs import local_identities
from stages.shared.command import run_stage
from stages.shared.files import write_json

PINS = Path("data/drift/pins")


def main(run: str) -> None:
    write_json(PINS / f"{run}.json", local_identities(run))


if __name__ == "__main__":
    run_stage(main, __doc__)
