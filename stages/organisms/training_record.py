"""The record of a training, metrics/train/{organism}.json: what every reader of it may expect."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from stages.shared.json_text import parse_json
from stages.shared.tables import TableError

Fraction = Annotated[float, Field(ge=0, le=1)]
Distance = Annotated[float, Field(ge=0, lt=1e6)]


class RecordedNumbers(BaseModel):
    """A part of the record: its numbers are finite, and numbers."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, strict=True)


class RecordedEstimate(RecordedNumbers):
    """A mean over prompts."""

    value: float = Field(ge=-1e-6, lt=1e6)
    """A divergence may round to just below zero."""
    standard_error: float = Field(ge=0, lt=1e6)


class RecordedInterval(RecordedNumbers):
    """A gain in accuracy with its interval."""

    value: float = Field(ge=-1, le=1)
    low: float = Field(ge=-3, le=1)
    high: float = Field(ge=-1, le=3)


class RecordedMatching(RecordedNumbers):
    """The stop of a control at the distance of another organism."""

    by: Literal["displacement", "kl"]
    reached: Distance
    wanted: Distance
    relative_gap: float = Field(ge=-1, lt=1e6)


class RecordedTarget(RecordedNumbers):
    """The bound that the recipe sets, and whether it is kept."""

    quantity: str
    wanted: str
    value: float = Field(ge=-3, le=3)
    met: bool


class TrainingRecord(RecordedNumbers):
    """The whole record; a base has no distances, and an organism that starts from it none from another parent."""

    accuracy: dict[str, RecordedEstimate]
    format_share: Fraction
    completion_tokens: float = Field(ge=0, lt=1e9)
    worlds: dict[str, Fraction] | None = None
    gain_over_base: RecordedInterval | None = None
    displacement_from_base: Distance | None = None
    kl_from_base: RecordedEstimate | None = None
    displacement_from_parent: Distance | None = None
    kl_from_parent: RecordedEstimate | None = None
    matching: RecordedMatching | None = None
    target: RecordedTarget | None = None


def read_training_record(path: Path) -> TrainingRecord:
    """Return the record of an organism; raise TableError naming the file, the key, what was expected and the stage."""
    fix = f"run `dvc repro {path.stem.rpartition('-s')[0]}`, or restore it from git"
    if not path.is_file():
        raise TableError(f"{path} not found: {fix}")
    try:
        return TrainingRecord.model_validate(parse_json(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
        raise TableError(f"{path}: no training record ({wrong}): {fix}") from error
    except ValueError as error:
        raise TableError(f"{path}: no training record ({error}): {fix}") from error


def require_distance(record: TrainingRecord, key: str, path: Path) -> float:
    """Return the distance ``key`` of the record read from ``path``; raise TableError where it has none."""
    distance = getattr(record, key)
    if distance is None:
        raise TableError(f"{path}: {key} is missing: run `dvc repro {path.stem.rpartition('-s')[0]}`")
    return distance if isinstance(distance, float) else distance.value
