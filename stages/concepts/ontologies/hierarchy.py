"""Concepts in a hierarchy: kinds, each under at most one other, and the words under them."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from stages.shared.files import FileSource, write_json
from stages.shared.json_files import Record, read_json


class OntologyError(ValueError):
    """A hierarchy is not as it should be; the message names the concept, what was expected and the fix."""


class Hierarchy(NamedTuple):
    """A hierarchy of concepts with words as leaves: a word stands for one concept and belongs to its kind and to all kinds above."""

    kinds: dict[str, str | None]
    """The kind above each kind; None above the highest."""
    words: dict[str, str]
    """The kind just above each word."""
    held_out: frozenset[str]
    """Words that no vector, teacher or probe is made of."""

    def ancestry(self, kind: str) -> list[str]:
        """Return ``kind`` and all kinds above it, the nearest first."""
        path = [kind]
        while (upper := self.kinds[path[-1]]) is not None:
            path.append(upper)
        return path

    def members(self, kind: str) -> list[str]:
        """Return all words under ``kind``, directly or not."""
        return [word for word, parent in self.words.items() if kind in self.ancestry(parent)]

    def parents(self) -> list[str]:
        """Return the kinds with words directly under them, in their order."""
        direct = set(self.words.values())
        return [kind for kind in self.kinds if kind in direct]

    def parent_index(self) -> np.ndarray:
        """Return (W,) the number, among `parents`, of the kind just above each word."""
        parents = self.parents()
        return np.array([parents.index(kind) for kind in self.words.values()])

    def held_out_mask(self) -> np.ndarray:
        """Return (W,) bool: whether each word is held out."""
        return np.array([word in self.held_out for word in self.words])

    def remove(self, words: set[str], least: int) -> Hierarchy:
        """Return the hierarchy less ``words``, and less the kinds left with fewer than ``least`` of them."""
        rest = {word: kind for word, kind in self.words.items() if word not in words}
        counts = {kind: sum(parent == kind for parent in rest.values()) for kind in self.kinds}
        rest = {word: kind for word, kind in rest.items() if counts[kind] >= least}
        needed = {upper for kind in rest.values() for upper in self.ancestry(kind)}
        kinds = {kind: upper for kind, upper in self.kinds.items() if kind in needed}
        return checked_hierarchy(kinds, rest, self.held_out & set(rest), least)


def checked_hierarchy(
    kinds: Mapping[str, str | None], words: Mapping[str, str], held_out: frozenset[str], least: int
) -> Hierarchy:
    """Return the hierarchy of ``kinds``, each with the one above it, and ``words``, each with its kind.

    Raises OntologyError where it has a cycle, an unknown kind, or a parent with fewer than ``least`` words.
    """
    for kind in kinds:
        _require_no_cycle(kinds, kind)
    for word, kind in words.items():
        if kind not in kinds:
            raise OntologyError(
                f"the word {word!r} is under {kind!r}, which is no kind: expected one of {', '.join(kinds)}"
            )
        if word in kinds and word != kind and word in words.values():
            raise OntologyError(f"{word!r} is a word and a kind with words: name one of them otherwise")
    hierarchy = Hierarchy(dict(kinds), dict(words), held_out)
    for kind in hierarchy.parents():
        if (count := sum(parent == kind for parent in words.values())) < least:
            raise OntologyError(
                f"the kind {kind!r} has {count} words: expected {least} or more; add words, or lower concepts.ontology.least_words"
            )
    if len(hierarchy.parents()) < 2:
        raise OntologyError(
            f"{len(hierarchy.parents())} kinds with {least} words or more: expected 2, to tell one from the other"
        )
    return hierarchy


def _require_no_cycle(kinds: Mapping[str, str | None], start: str) -> None:
    path = [start]
    while (upper := kinds[path[-1]]) is not None:
        if upper not in kinds:
            raise OntologyError(
                f"the kind {path[-1]!r} is under {upper!r}, which is no kind: add it, or correct its name"
            )
        if upper in path:
            cycle = " < ".join([*path[path.index(upper) :], upper])
            raise OntologyError(
                f"the hierarchy has a cycle: {cycle}; expected every kind under a higher one, take a link away"
            )
        path.append(upper)


def hold_out(words: Mapping[str, str], share: float, seed: int) -> frozenset[str]:
    """Return ``share`` of the words of every kind, drawn at random, at least one and at most all but three."""
    held_out: list[str] = []
    for kind in dict.fromkeys(words.values()):
        members = [word for word, parent in words.items() if parent == kind]
        count = max(1, min(round(share * len(members)), len(members) - 3))
        held_out += random.Random(f"{seed}-{kind}").sample(members, count)
    return frozenset(held_out)


class KindRow(Record):
    kind: str
    above: str | None


class WordRow(Record):
    word: str
    kind: str
    held_out: bool


class HierarchyFile(Record):
    kinds: list[KindRow]
    words: list[WordRow]


def write_hierarchy(path: Path, hierarchy: Hierarchy) -> None:
    """Write the hierarchy as JSON: ``kinds``, rows of kind and above, and ``words``, rows of word, kind and held_out."""
    kinds = [{"kind": kind, "above": upper} for kind, upper in hierarchy.kinds.items()]
    words = [
        {"word": word, "kind": kind, "held_out": word in hierarchy.held_out} for word, kind in hierarchy.words.items()
    ]
    write_json(path, {"kinds": kinds, "words": words})


def read_hierarchy(path: Path, least: int) -> Hierarchy:
    """Read what `write_hierarchy` wrote; OntologyError where the file is missing, cut off, or no hierarchy."""
    fix = f"run `dvc repro concepts-prepare`, or restore it with `dvc checkout {path}`"
    content = read_json(path, HierarchyFile, FileSource("a hierarchy of kinds and words", fix, OntologyError))
    _require_once(path, "kind", [row.kind for row in content.kinds], fix)
    _require_once(path, "word", [row.word for row in content.words], fix)
    kinds = {row.kind: row.above for row in content.kinds}
    words = {row.word: row.kind for row in content.words}
    held_out = frozenset(row.word for row in content.words if row.held_out)
    try:
        return checked_hierarchy(kinds, words, held_out, least)
    except OntologyError as error:
        raise OntologyError(f"{path}: {error}; {fix}") from error


def _require_once(path: Path, noun: str, names: list[str], fix: str) -> None:
    """Raise OntologyError where a word, which belongs to one kind, or a kind, which lies under one other, stands twice."""
    if repeated := [name for name, count in Counter(names).items() if count > 1]:
        raise OntologyError(f"{path}: the {noun} {repeated[0]!r} stands twice: expected it once, under one kind; {fix}")
