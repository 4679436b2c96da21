"""The file of one model's words and states, `data/concepts/words/{model}/states.h5`: the one module that knows its format.

    {state}/unembedding    float32 (V, d)           rows of the tokens that can be emitted
    {state}/middle, final  float32 (T, W, d)        states at the word, of T templates and W words
    {state}/fisher         float64 (d, d)           Fisher information of the next token over final states of text
    {state}/middle_mean, middle_covariance, final_mean, final_covariance   float64 (d,), (d, d) over its ordinary tokens
    emitted                int64   (V,)             their token ids
    row                    int64   (W,)             index of each word among them
    attributes             {state}: middle_rms, middle_limit; root: format_version, model, weight_hash, layer, words,
                           templates, left_out, questions, precision, library_versions

A state is ``final`` or ``untrained``. A file under its final name is complete; equal values give equal bytes.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np

from stages.shared.files import atomic

FORMAT_VERSION = 2
FINAL, UNTRAINED = "final", "untrained"
FIX = "rebuild it with `dvc repro concepts-extract`, or fetch it with `dvc pull`"


class ConceptStateError(ValueError):
    """A file of words and states is missing, unreadable or of another study; the message names it and the fix."""


class States(NamedTuple):
    """The states of one model, trained or not; their shapes are at the head of this module."""

    unembedding: np.ndarray
    middle: np.ndarray
    final: np.ndarray
    fisher: np.ndarray
    middle_mean: np.ndarray
    middle_covariance: np.ndarray
    final_mean: np.ndarray
    final_covariance: np.ndarray
    middle_rms: float
    """Root mean square norm of the middle states of text: the unit of what is added to them."""
    middle_limit: float = math.inf
    """The norm above which a middle state is massive: ten medians over that text."""


class WordsHeader(NamedTuple):
    """The attributes of a file of words and states."""

    model: str
    weight_hash: str
    layer: int
    """The block after which middle states are read."""
    words: list[str]
    templates: list[str]
    left_out: list[str]
    """Words that are several tokens."""
    questions: dict[str, float]
    """Share of is-a questions that an organism answers rightly, by kind and split; empty for other models."""
    precision: str
    library_versions: dict[str, str]


class Words(NamedTuple):
    """The content of the file of one model."""

    header: WordsHeader
    emitted: np.ndarray
    """(V,) ids of the tokens that can be emitted."""
    row: np.ndarray
    """(W,) index of each word among them."""
    states: dict[str, States]
    """States by name, ``final`` or ``untrained``."""


def write_states(path: Path, words: Words) -> None:
    """Write the file, complete or not at all."""
    with atomic(path) as temporary, h5py.File(temporary, "w", track_order=True) as file:
        for name, value in (words.header._asdict() | {"format_version": FORMAT_VERSION}).items():
            file.attrs[name] = json.dumps(value, sort_keys=True) if isinstance(value, dict | list) else value
        file.create_dataset("emitted", data=words.emitted, track_times=False)
        file.create_dataset("row", data=words.row, track_times=False)
        for state, values in words.states.items():
            group = file.create_group(state)
            for name, value in values._asdict().items():
                if isinstance(value, float):
                    group.attrs[name] = value
                else:
                    group.create_dataset(name, data=value, track_times=False)


def read_words(path: Path) -> Words:
    """Read what `write_states` wrote; ConceptStateError where it is missing, cut off, or of another format."""
    if not path.is_file():
        raise ConceptStateError(f"{path} not found; {FIX}")
    try:
        with h5py.File(path) as file:
            if (version := file.attrs.get("format_version")) != FORMAT_VERSION:
                raise ConceptStateError(f"{path}: format_version {version}, expected {FORMAT_VERSION}; {FIX}")
            header = WordsHeader(**{name: _attribute(file.attrs[name]) for name in WordsHeader._fields})
            states = {name: _states(group) for name, group in file.items() if isinstance(group, h5py.Group)}
            return Words(header, file["emitted"][()], file["row"][()], states)
    except (OSError, KeyError) as error:  # what h5py raises on damaged bytes and on what is not there
        raise ConceptStateError(f"{path} is no complete file of words and states ({error}); {FIX}") from error


def _states(group: h5py.Group) -> States:
    return States(**{name: group[name][()] if name in group else float(group.attrs[name]) for name in States._fields})


def _attribute(value: Any) -> Any:
    if isinstance(value, str):
        return json.loads(value) if value[:1] in "{[" else value
    return int(value)
