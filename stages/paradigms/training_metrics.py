"""The training record of an organism, as hypotheses read it: how far it moved, and whether a control hit its target."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from stages.organisms.training_records import read_training_record, require_distance


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
    """Read the record `metrics/train/{model}.json` of an organism; raises TableError naming the file and the wrong key."""
    record = read_training_record(path)
    matching = (record.matching.by, record.matching.relative_gap) if record.matching else ()
    distances = [require_distance(record, key, path) for key in ("displacement_from_base", "kl_from_base")]
    return Training(*distances, *matching)
