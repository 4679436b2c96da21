"""The file of sampled tokens, `data/drift/samples/{model}.h5`: the one module that knows its format.

    {state}/{task}          float32  (depths, rows, d_model): embedding, layers, final norm; see `reservoir.point_names`
    tokens/{task}/prompt    int64    (rows,): index of the row's prompt, ascending
    tokens/{task}/position  int64    (rows,): in the prompt; 0 is the sink that every prompt has beside its drawn tokens
    attributes              {state}: step (-1 where it is none), architecture, weight_hash, resolved_revision;
                            tokens/{task}: token_hash; root: format_version, model, precision,
                            library_versions, chat_date

A state is ``final``, ``step-{n}`` on the way to it, or ``untrained``. Rows are the same tokens in all states and all
siblings. A file under its final name is complete; equal values give equal bytes. A flipped bit is refused on reading
(`stages.shared.hdf5_files`), as are values that are not finite or larger than `LARGEST`, and the file of another model.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np

from stages.shared.files import FileError, FileSource
from stages.shared.hdf5_files import add_dataset, read_hdf5, write_hdf5

FORMAT_VERSION = 2
# Above it arithmetic has failed: massive activations stay near 1e5.
LARGEST = 1e8
FINAL, UNTRAINED = "final", "untrained"
FIX = "rebuild it with `dvc repro drift-measure`, which samples what is missing, or fetch it with `dvc pull`"


class SampleError(FileError):
    """A file of sampled tokens is missing, unreadable or not comparable; the message names it and the fix."""


class ModelState(NamedTuple):
    """One model at one time of its training."""

    name: str
    step: int
    architecture: str
    weight_hash: str
    resolved_revision: str


class SampledTokens(NamedTuple):
    """The tokens of one task that are sampled, a row each, and the hash of all tokens that the model reads."""

    prompt: np.ndarray
    """Index (rows,) of the row's prompt, ascending"""
    position: np.ndarray
    """Position (rows,) in the prompt"""
    token_hash: str


class SampleHeader(NamedTuple):
    """The model of a file, its precision of compute, and the versions of the libraries that computed it."""

    model: str
    precision: str
    library_versions: dict[str, str]
    chat_date: str = ""
    """Day on which a chat template was filled in, where prompts stand in one."""


def write_samples(
    path: Path,
    header: SampleHeader,
    tokens: Mapping[str, SampledTokens],
    states: Iterator[tuple[ModelState, Mapping[str, np.ndarray]]],
) -> list[ModelState]:
    """Write all ``states``, each with its values (depths, rows, d) by task, and return them.

    The file appears as a whole, or not at all.
    """
    written = []
    with write_hdf5(path) as file:
        for name, value in (header._asdict() | {"format_version": FORMAT_VERSION}).items():
            file.attrs[name] = json.dumps(value, sort_keys=True) if isinstance(value, dict) else value
        for task, task_tokens in tokens.items():
            group = file.create_group(f"tokens/{task}")
            group.attrs["token_hash"] = task_tokens.token_hash
            for name in ("prompt", "position"):
                add_dataset(group, name, getattr(task_tokens, name).astype(np.int64))
        for state, values in states:
            group = file.create_group(state.name)
            for name in ModelState._fields[1:]:
                group.attrs[name] = getattr(state, name)
            for task, task_values in values.items():
                stored = task_values.astype(np.float32)
                _require_sound(path, f"{state.name}/{task}", stored)
                add_dataset(group, task, stored)
            written.append(state)
    return written


def read_header(path: Path) -> SampleHeader:
    """Return the header of a file. Raises SampleError where it is missing or damaged, as all readers do."""
    with _open(path) as file:
        attributes = {name: file.attrs[name] for name in SampleHeader._fields}
        return SampleHeader(**attributes | {"library_versions": json.loads(attributes["library_versions"])})


def read_states(path: Path) -> list[ModelState]:
    """Return the states in the order of training, `UNTRAINED` first where it is there, `FINAL` last."""
    with _open(path) as file:
        states = [
            ModelState(name, int(group.attrs["step"]), *(group.attrs[key] for key in ModelState._fields[2:]))
            for name, group in file.items()
            if name != "tokens"
        ]
    return sorted(states, key=lambda state: (state.name == FINAL, state.step))


def read_tokens(path: Path, task: str) -> SampledTokens:
    """Return the sampled tokens of one task. Raises SampleError where the file has none of it."""
    with _open(path) as file:
        if f"tokens/{task}" not in file:
            raise SampleError(f"{path} holds no tokens of {task}; {FIX}")
        group = file[f"tokens/{task}"]
        return SampledTokens(group["prompt"][()], group["position"][()], group.attrs["token_hash"])


def read_values(path: Path, state: str, task: str) -> np.ndarray:
    """Return the values (depths, rows, d_model) of one task in one state, float32."""
    with _open(path) as file:
        values = _values(file, path, state, task)[()]
    _require_sound(path, f"{state}/{task}", values)
    return values


def have_same_tokens(reference: Path, model: Path, tasks: Sequence[str], unlike: Sequence[str]) -> bool:
    """Return whether the rows of two files are the same tokens, so that their clouds can be compared.

    False where ``unlike`` (of `measure.unlike`) allows other prompt formats. Raises SampleError where tokens, precision
    or shapes differ without being allowed to.
    """
    reference_precision, model_precision = (read_header(path).precision for path in (reference, model))
    if reference_precision != model_precision and "precision" not in unlike:
        raise SampleError(
            f"{reference} was computed in {reference_precision}, {model} in {model_precision}: expected one precision "
            "for both; set it in data/registry/models.yaml, or name precision in measure.unlike if the comparison is "
            "about it"
        )
    for task in tasks:
        if read_tokens(reference, task).token_hash != read_tokens(model, task).token_hash:
            if "prompt_format" in unlike:
                return False
            raise SampleError(
                f"{reference} and {model} hold other tokens of {task}: expected the reference's tokenizer and one "
                "prompt format for both; rebuild them with `dvc repro drift-measure`, or correct prompt_format in "
                "data/registry/models.yaml"
            )
        shapes = [_shape(path, task) for path in (reference, model)]
        if shapes[0] != shapes[1]:
            raise SampleError(
                f"{reference} and {model} have the shapes {shapes[0]} and {shapes[1]} of {task}: expected one "
                "architecture for both; correct the reference in study.models"
            )
    return True


def _shape(path: Path, task: str) -> tuple[int, ...]:
    """Return the shape (depths, rows, d_model) of the final state."""
    with _open(path) as file:
        return _values(file, path, FINAL, task).shape


def _values(file: h5py.File, path: Path, state: str, task: str) -> h5py.Dataset:
    if f"{state}/{task}" not in file:
        raise SampleError(f"{path} holds no {task} of {state}: it has {', '.join(sorted(file))}; {FIX}")
    return file[f"{state}/{task}"]


def _require_sound(path: Path, name: str, values: np.ndarray) -> None:
    """Raise SampleError where ``values`` hold NaN, infinity, or more than `LARGEST`."""
    if values.size and not (values.min() >= -LARGEST and values.max() <= LARGEST):  # NaN is neither
        raise SampleError(
            f"{path}: {name} has values that are not finite or above {LARGEST:g}: check the weights; {FIX}"
        )


@contextmanager
def _open(path: Path) -> Iterator[h5py.File]:
    with read_hdf5(path, FileSource("the sampled tokens of a model", FIX, SampleError)) as file:
        if (version := file.attrs.get("format_version")) != FORMAT_VERSION:
            raise SampleError(f"{path}: format_version {version}, expected {FORMAT_VERSION}; {FIX}")
        if (model := file.attrs["model"]) != path.stem:
            raise SampleError(f"{path} holds the sampled tokens of {model}, not of {path.stem}; {FIX}")
        yield file
