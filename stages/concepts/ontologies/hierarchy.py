"""Concepts in a hierarchy: kinds, each under at most one other, and the words under them."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from stages.shared.files import write_json


class OntologyError(ValueError):
    """A hierarchy is not sound; the message names the concept, what was expected and the fix."""


class Hierarchy(NamedTuple):
    """Words are the leaves: a word stands for one concept and belongs to its kind and to all kinds above."""

    kinds: dict[str, str | None]
    """Each kind: the one above it, None for the highest."""
    words: dict[str, str]
    """Each word: the kind just above it."""
    held_out: frozenset[str]
    """Words that no vector, teacher or probe is made of."""

    def above(self, kind: str) -> list[str]:
        """``kind`` and all kinds above it, the nearest first."""
        found = [kind]
        while (upper := self.kinds[found[-1]]) is not None:
            found.append(upper)
        return found

    def members(self, kind: str) -> list[str]:
        """All words under ``kind``, directly or not."""
        return [word for word, own in self.words.items() if kind in self.above(own)]

    def parents(self) -> list[str]:
        """Kinds with words directly under them, in their order."""
        direct = set(self.words.values())
        return [kind for kind in self.kinds if kind in direct]

    def without(self, words: set[str], least: int) -> Hierarchy:
        """The same without ``words``, and without kinds left with fewer than ``least`` of them."""
        kept = {word: kind for word, kind in self.words.items() if word not in words}
        counts = {kind: sum(own == kind for own in kept.values()) for kind in self.kinds}
        kept = {word: kind for word, kind in kept.items() if counts[kind] >= least}
        needed = {upper for kind in kept.values() for upper in self.above(kind)}
        kinds = {kind: upper for kind, upper in self.kinds.items() if kind in needed}
        return sound(kinds, kept, self.held_out & set(kept), least)


def sound(kinds: Mapping[str, str | None], words: Mapping[str, str], held_out: frozenset[str], least: int) -> Hierarchy:
    """The hierarchy; OntologyError where it has a cycle, an unknown kind, or a parent with fewer than ``least`` words."""
    for kind in kinds:
        _require_no_cycle(kinds, kind)
    for word, kind in words.items():
        if kind not in kinds:
            raise OntologyError(
                f"the word {word!r} is under {kind!r}, which is no kind: expected one of {', '.join(kinds)}"
            )
        if word in kinds and word != kind and word in words.values():
            raise OntologyError(f"{word!r} is a word and a kind with words: name one of them otherwise")
    found = Hierarchy(dict(kinds), dict(words), held_out)
    for kind in found.parents():
        if (count := sum(own == kind for own in words.values())) < least:
            raise OntologyError(
                f"the kind {kind!r} has {count} words: expected {least} or more; add words, or lower concepts.ontology.least_words"
            )
    if len(found.parents()) < 2:
        raise OntologyError(
            f"{len(found.parents())} kinds with {least} words or more: expected 2, to tell one from the other"
        )
    return found


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
    """``share`` of the words of every kind, drawn at random, at least one and at most all but three."""
    found: list[str] = []
    for kind in dict.fromkeys(words.values()):
        own = [word for word, of in words.items() if of == kind]
        count = max(1, min(round(share * len(own)), len(own) - 3))
        found += random.Random(f"{seed}-{kind}").sample(own, count)
    return frozenset(found)


def write_hierarchy(path: Path, hierarchy: Hierarchy) -> None:
    kinds = [{"kind": kind, "above": above} for kind, above in hierarchy.kinds.items()]
    words = [
        {"word": word, "kind": kind, "held_out": word in hierarchy.held_out} for word, kind in hierarchy.words.items()
    ]
    write_json(path, {"kinds": kinds, "words": words})


def read_hierarchy(path: Path, least: int) -> Hierarchy:
    """Raises OntologyError where the file is missing, cut off, or not sound."""
    if not path.is_file():
        raise OntologyError(f"{path} not found: run `dvc repro prepare-concepts` or `dvc pull {path}`")
    try:
        content = json.loads(path.read_text())
        kinds = {row["kind"]: row["above"] for row in content["kinds"]}
        words = {row["word"]: row["kind"] for row in content["words"]}
        held_out = frozenset(row["word"] for row in content["words"] if row["held_out"])
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise OntologyError(
            f"{path} is no complete hierarchy ({error!r}): restore it with `dvc checkout {path}`"
        ) from error
    return sound(kinds, words, held_out, least)
