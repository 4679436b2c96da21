"""Courses of training and their parents: recipes of organisms over their families, and runs of the registry."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from stages.models.run_registry import load_run
from stages.trace.params import Ngrams, Trace


class Course(NamedTuple):
    """One course of training: a recipe with a run in every family, or one run of the registry."""

    name: str
    runs: tuple[str, ...]
    parent: str | None
    """Name of the course whose end it starts from; None for training from scratch."""
    corpora: tuple[str, ...]
    """Names of the n-gram corpora of its runs; empty where none is declared."""


def read_courses(trace: Trace, seeds: list[int], parents: Mapping[str, str | None], ngrams: Ngrams) -> list[Course]:
    """Return every course of the study, those from scratch first; ``parents`` names the recipes' parents.

    A corpus that a run declares but ``ngrams`` does not look into is left out: it takes an index of its own.
    """
    courses = [
        Course(
            name=recipe,
            runs=tuple(f"{recipe}-s{seed}" for seed in seeds),
            parent=parents[recipe],
            corpora=tuple(f"{base}-s{seed}" for seed in seeds for base in ngrams.organisms),
        )
        for recipe in (trace.organisms if seeds else [])
    ]
    for slug in trace.runs:
        entry = load_run(slug)
        corpora = (entry.corpus,) if entry.corpus in ngrams.corpora else ()
        courses.append(Course(slug, (slug,), entry.parent, corpora))
    return sorted(courses, key=lambda course: course.parent is not None)
