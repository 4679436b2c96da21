"""The file of sampled tokens, `data/drift/samples/{model}.h5`: the one module that knows its format.

    {state}/{task}          float32  (points, rows, d_model): embedding, every layer, final norm; see `reservoir.points`
    tokens/{task}/prompt    int64    (rows,): index of the row's prompt, ascending
    tokens/{task}/position  int64    (rows,): in the prompt; 0 is the sink that every prompt has beside its drawn tokens
    attributes              {state}: step (-1 where it is none), architecture, weight_hash, resolved_revision;
                            tokens/{task}: token_hash; root: format_version, model, precision, library_versions

A state is ``final``, ``step-{n}`` on the way to it, or ``untrained``. Rows are the same tokens in all states and all
siblings. A file under its final name is complete; equal values give equal bytes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np

from stages.shared.files import atomic

FORMAT_VERSION = 1
FINAL, UNTRAINED = "final", "untrained"
FIX = "rebuild it with `dvc repro drift`, which samples what is missing, or fetch it with `dvc pull`"


class SampleError(ValueError):
    """A file of sampled tokens is missing, unreadable or not comparable; the message names it and the fix."""


class State(NamedTuple):
    """Of one model, at one time of its training."""

    name: str
    step: int
    architecture: str
    weight_hash: str
    resolved_revision: str


class Rows(NamedTuple):
    """The tokens of one task."""

    prompt: np.ndarray
    position: np.ndarray
    token_hash: str


class Header(NamedTuple):
    model: str
    precision: str
    library_versions: dict[str, str]


def write_samples(
    path: Path, header: Header, rows: Mapping[str, Rows], states: Iterator[tuple[State, Mapping[str, np.ndarray]]]
) -> list[State]:
    """Write all ``states``, each with its values (points, rows, d) by task; the file appears as a whole."""
    written = []
    with atomic(path) as temporary, h5py.File(temporary, "w", track_order=True) as file:
        for name, value in (header._asdict() | {"format_version": FORMAT_VERSION}).items():
            file.attrs[name] = json.dumps(value, sort_keys=True) if isinstance(value, dict) else value
        for task, of_task in rows.items():
            group = file.create_group(f"tokens/{task}")
            group.attrs["token_hash"] = of_task.token_hash
            for name in ("prompt", "position"):
                group.create_dataset(name, data=getattr(of_task, name).astype(np.int64), track_times=False)
        for state, values in states:
            group = file.create_group(state.name)
            for name in State._fields[1:]:
                group.attrs[name] = getattr(state, name)
            for task, of_task in values.items():
                group.create_dataset(task, data=of_task.astype(np.float32), track_times=False)
            written.append(state)
    return written


def read_header(path: Path) -> Header:
    with _opened(path) as file:
        found = {name: file.attrs[name] for name in Header._fields}
        return Header(**found | {"library_versions": json.loads(found["library_versions"])})


def read_states(path: Path) -> list[State]:
    """In the order of training, `UNTRAINED` first where it is there, `FINAL` last."""
    with _opened(path) as file:
        found = [
            State(name, int(group.attrs["step"]), *(group.attrs[key] for key in State._fields[2:]))
            for name, group in file.items()
            if name != "tokens"
        ]
    return sorted(found, key=lambda state: (state.name == FINAL, state.step))


def read_rows(path: Path, task: str) -> Rows:
    with _opened(path) as file:
        if f"tokens/{task}" not in file:
            raise SampleError(f"{path} holds no tokens of {task}; {FIX}")
        group = file[f"tokens/{task}"]
        return Rows(group["prompt"][()], group["position"][()], group.attrs["token_hash"])


def read_values(path: Path, state: str, task: str) -> np.ndarray:
    """(points, rows, d_model) float32."""
    with _opened(path) as file:
        return _values(file, path, state, task)[()]


def paired(reference: Path, model: Path, tasks: Sequence[str], unlike: Sequence[str]) -> bool:
    """Whether the rows of two files are the same tokens, so that their clouds can be compared.

    False where ``unlike`` (of `measure.unlike`) allows other prompt formats. Raises SampleError where tokens, precision
    or shapes differ without being allowed to.
    """
    ours, theirs = (read_header(path).precision for path in (reference, model))
    if ours != theirs and "precision" not in unlike:
        raise SampleError(
            f"{reference} was computed in {ours}, {model} in {theirs}: expected one precision for both; set it in "
            "data/registry/models.yaml, or name precision in measure.unlike if the comparison is about it"
        )
    for task in tasks:
        if read_rows(reference, task).token_hash != read_rows(model, task).token_hash:
            if "prompt_format" in unlike:
                return False
            raise SampleError(
                f"{reference} and {model} hold other tokens of {task}: expected the reference's tokenizer and one prompt "
                "format for both; rebuild them with `dvc repro drift`, or correct prompt_format in data/registry/models.yaml"
            )
        shapes = [_shape(path, task) for path in (reference, model)]
        if shapes[0] != shapes[1]:
            raise SampleError(
                f"{reference} and {model} have the shapes {shapes[0]} and {shapes[1]} of {task}: expected one architecture "
                "for both; correct the reference in study.models"
            )
    return True


def _shape(path: Path, task: str) -> tuple[int, ...]:
    """(points, rows, d_model) of the final state."""
    with _opened(path) as file:
        return _values(file, path, FINAL, task).shape


def _values(file: h5py.File, path: Path, state: str, task: str) -> h5py.Dataset:
    if f"{state}/{task}" not in file:
        raise SampleError(f"{path} holds no {task} of {state}: it has {', '.join(sorted(file))}; {FIX}")
    return file[f"{state}/{task}"]


@contextmanager
def _opened(path: Path) -> Iterator[h5py.File]:
    if not path.is_file():
        raise SampleError(f"{path} not found; {FIX}")
    try:
        with h5py.File(path) as file:
            if (found := file.attrs.get("format_version")) != FORMAT_VERSION:
                raise SampleError(f"{path}: format_version {found}, expected {FORMAT_VERSION}; {FIX}")
            yield file
    except (OSError, KeyError) as error:  # what h5py raises on damaged bytes and on what is not there
        raise SampleError(f"{path} is no complete file of sampled tokens ({error}); {FIX}") from error
