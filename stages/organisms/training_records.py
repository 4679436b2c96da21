"""The record of a training, `metrics/train/{model}.json`, as it is read: every number has its range."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from stages.shared.files import FileSource
from stages.shared.json_files import Finite, Record, Share, read_json
from stages.shared.tables import TableError

Size = Annotated[float, Field(ge=0, allow_inf_nan=False)]
# A divergence is not negative, but for the rounding of its terms.
Divergence = Annotated[float, Field(ge=-1e-6, allow_inf_nan=False)]


class AccuracyEstimate(Record):
    value: Share
    standard_error: Size = 0.0


class DivergenceEstimate(Record):
    value: Divergence
    standard_error: Size = 0.0


class GainEstimate(Record):
    value: Annotated[float, Field(ge=-1, le=1)]
    low: Finite | None = None
    high: Finite | None = None


class MatchingSummary(Record):
    by: Literal["displacement", "kl"]
    relative_gap: Size
    wanted: Size | None = None
    reached: Size | None = None


class TargetSummary(Record):
    met: bool
    value: Finite | None = None


class TrainingRecord(Record):
    """The metrics of a trained organism; a base has no distances, and only some siblings have a matching and a target."""

    accuracy: dict[str, AccuracyEstimate] = {}
    format_share: Share | None = None
    completion_tokens: Size | None = None
    gain_over_base: GainEstimate | None = None
    displacement_from_base: Size | None = None
    displacement_from_parent: Size | None = None
    kl_from_base: DivergenceEstimate | None = None
    kl_from_parent: DivergenceEstimate | None = None
    matching: MatchingSummary | None = None
    target: TargetSummary | None = None
    worlds: dict[str, Share] = {}


def training_source(path: Path) -> FileSource:
    """Return what a record is and which stage makes it, for messages."""
    stage = path.stem.rpartition("-s")[0] or path.stem
    return FileSource("the record of a training", f"rebuild it with `dvc repro {stage}`", TableError)


def read_training_record(path: Path) -> TrainingRecord:
    """Return the record of a training. Raises TableError naming the file, the key, the value and the stage."""
    return read_json(path, TrainingRecord, training_source(path))


def read_distance(path: Path, quantity: Literal["displacement", "kl"], parent: str) -> float:
    """Return how far a model moved from its ``parent``, above 0. Raises TableError where the record does not say."""
    key = f"{quantity}_from_{'base' if parent == 'base' else 'parent'}"
    distance = getattr(read_training_record(path), key)
    value = distance.value if isinstance(distance, DivergenceEstimate) else distance
    if not value or value < 0:
        raise TableError(f"{path}: {key} is {value!r}, expected a number above 0; {training_source(path).fix}")
    return value
