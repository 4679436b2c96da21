"""The record of a training, `metrics/train/{model}.json`, as it is read: every number has its range."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from stages.shared.files import FileSource
from stages.shared.json_files import Record, Share, read_json
from stages.shared.tables import TableError

Size = Annotated[float, Field(ge=0, lt=1e6)]
# A divergence is not negative, but for the rounding of its terms.
Divergence = Annotated[float, Field(ge=-1e-6, lt=1e6)]


class RecordPart(Record):
    """A part of the record: no key but those declared."""

    model_config = ConfigDict(extra="forbid")


class AccuracyEstimate(RecordPart):
    value: Share
    standard_error: Size


class DivergenceEstimate(RecordPart):
    value: Divergence
    standard_error: Size


class GainEstimate(RecordPart):
    """A gain in accuracy with its interval."""

    value: float = Field(ge=-1, le=1)
    low: float = Field(ge=-3, le=1)
    high: float = Field(ge=-1, le=3)


class MatchingSummary(RecordPart):
    """The stop of a control at the distance of another organism."""

    by: Literal["displacement", "kl"]
    reached: Size
    wanted: Size
    relative_gap: Size


class TargetSummary(RecordPart):
    """The bound that the recipe sets, and whether it is kept."""

    quantity: str
    wanted: str
    value: float = Field(ge=-3, le=3)
    met: bool


class TrainingRecord(RecordPart):
    """The whole record; a base has no distances, and an organism that starts from it none from another parent."""

    accuracy: dict[str, AccuracyEstimate]
    format_share: Share
    completion_tokens: float = Field(ge=0, lt=1e9)
    worlds: dict[str, Share] | None = None
    gain_over_base: GainEstimate | None = None
    displacement_from_base: Size | None = None
    displacement_from_parent: Size | None = None
    kl_from_base: DivergenceEstimate | None = None
    kl_from_parent: DivergenceEstimate | None = None
    matching: MatchingSummary | None = None
    target: TargetSummary | None = None


def training_source(path: Path) -> FileSource:
    """Return what a record is and which stage makes it, for messages."""
    stage = path.stem.rpartition("-s")[0] or path.stem
    return FileSource("the record of a training", f"rebuild it with `dvc repro {stage}`", TableError)


def read_training_record(path: Path) -> TrainingRecord:
    """Return the record of a training. Raises TableError naming the file, the key, the value and the stage."""
    return read_json(path, TrainingRecord, training_source(path))


def require_distance(record: TrainingRecord, key: str, path: Path) -> float:
    """Return the distance ``key`` of the record read from ``path``. Raises TableError where it has none."""
    distance = getattr(record, key)
    if distance is None:
        raise TableError(f"{path} has no {key}; {training_source(path).fix}")
    return distance.value if isinstance(distance, DivergenceEstimate) else distance


def read_distance(path: Path, quantity: Literal["displacement", "kl"], parent: str) -> float:
    """Return how far a model moved from its ``parent``, above 0. Raises TableError where the record does not say."""
    key = f"{quantity}_from_{'base' if parent == 'base' else 'parent'}"
    value = require_distance(read_training_record(path), key, path)
    if value <= 0:
        raise TableError(f"{path}: {key} is {value!r}, expected a number above 0; {training_source(path).fix}")
    return value
