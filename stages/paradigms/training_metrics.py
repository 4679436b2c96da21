"""The training record of an organism, as hypotheses read it: how far it moved, and whether a control hit its target."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

from stages.shared.tables import TableError


class Training(NamedTuple):
    """The distances and the matching of a trained model; NaN and empty for a model that was not trained here."""

    displacement: float = float("nan")
    """relative size of the weight update from the base"""
    kl: float = float("nan")
    """KL divergence from the base, nats a token"""
    matched_by: str = ""
    """"displacement" or "kl", for the two matched controls"""
    gap: float = float("nan")
    """|reached - wanted| / wanted"""


def read_training(path: Path) -> Training:
    """Read the record `metrics/train/{model}.json` of an organism; raises TableError naming the file and the missing key."""
    fix = f"rebuild it with `dvc repro` of the stage that trains {path.stem}"
    if not path.is_file():
        raise TableError(f"{path} not found; {fix}")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        matching = content.get("matching", {})
        return Training(
            float(content["displacement_from_base"]),
            float(content["kl_from_base"]["value"]),
            matching["by"] if matching else "",
            abs(float(matching["relative_gap"])) if matching else float("nan"),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise TableError(f"{path}: unreadable training record ({error!r}); {fix}") from error
