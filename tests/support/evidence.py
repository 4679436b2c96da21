"""Committed results that ``dvc repro`` does not rebuild, with the code and the parameters that made them.

``python -m tests.support.evidence NAME`` records today's code and parameters as those that made the results NAME; run it
right after making them anew. ``metrics/evidence.json`` holds the records.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import NamedTuple

import yaml

from stages.shared.code_identity import fingerprint
from stages.shared.files import write_json
from tests.support.project import ROOT

RECORDS = ROOT / "metrics/evidence.json"


class Evidence(NamedTuple):
    """Results under one name, and what decides them."""

    results: tuple[str, ...]
    """Patterns of the files, from the root."""
    code: tuple[str, ...]
    """The programs that run, from the root: all that they import counts."""
    params: tuple[str, ...]
    """Groups of params.yaml that are read; a number of seeds is the results' own."""


TRAINED = ("organisms/pretrain", "organisms/finetune", "organisms/reinforce")
PARADIGMS = ("paradigms/collect", "paradigms/measure", "paradigms/perturb", "paradigms/test", "paradigms/plot")
TRACED = ("trace/prepare", "trace/count", "trace/follow", "trace/summarise", "trace/plot")
EVIDENCE = {
    "families": Evidence(
        ("metrics/families/*.json", "metrics/families/perturb/*.json", "plots/families/*"),
        tuple(f"stages/{stage}.py" for stage in TRAINED + PARADIGMS + TRACED),
        ("tasks", "organisms", "collect", "measure", "perturb", "hypotheses", "trace", "phases", "ngrams"),
    ),
    "calibration": Evidence(("metrics/calibration.json",), ("tests/speed/calibration.py",), ()),
}


def identity_of(evidence: Evidence, root: Path = ROOT) -> dict[str, str]:
    """Return hashes of the code and of the parameters that decide the results today."""
    params = yaml.safe_load((root / "params.yaml").read_text(encoding="utf-8"))
    read = json.dumps({group: params[group] for group in evidence.params}, sort_keys=True)
    code = {file: fingerprint(file, root=root) for file in evidence.code}
    return {
        "code": hashlib.sha256(json.dumps(code, sort_keys=True).encode()).hexdigest(),
        "params": hashlib.sha256(read.encode()).hexdigest(),
    }


def stale() -> dict[str, list[str]]:
    """Return the names of results whose code or parameters have changed since they were made, and which of the two."""
    records = json.loads(RECORDS.read_text(encoding="utf-8"))
    changed = {}
    for name, evidence in EVIDENCE.items():
        today = identity_of(evidence)
        if parts := [part for part in ("code", "params") if records[name][part] != today[part]]:
            changed[name] = parts
    return changed


def record(name: str) -> None:
    """Write today's code and parameters as those that made the results ``name``."""
    records = json.loads(RECORDS.read_text(encoding="utf-8")) if RECORDS.is_file() else {}
    write_json(RECORDS, records | {name: identity_of(EVIDENCE[name])})


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        record(argument)
