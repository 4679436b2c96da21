"""The training record of an organism, as hypotheses read it: how far it moved, and whether a control hit its target."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from stages.organisms.training_records import read_training_record, training_source
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
    record = read_training_record(path)
    missing = [key for key in ("displacement_from_base", "kl_from_base") if getattr(record, key) is None]
    if missing:
        raise TableError(f"{path} has no {' and no '.join(missing)}; {training_source(path).fix}")
    matching = (record.matching.by, record.matching.relative_gap) if record.matching else ()
    return Training(record.displacement_from_base, record.kl_from_base.value, *matching)
