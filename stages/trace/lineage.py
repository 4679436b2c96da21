"""Which training starts from which: recipes of organisms over their families, and runs of the registry."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from stages.models.run_registry import load_run
from stages.trace.params import Ngrams, Trace


class Line(NamedTuple):
    """One recipe with a run in every family, or one run of the registry."""

    name: str
    runs: tuple[str, ...]
    parent: str | None
    """Name of the line whose end it starts from; None for training from scratch."""
    corpora: tuple[str, ...]
    """Names of the n-gram corpora of its runs; empty where none is declared."""


def lines(trace: Trace, seeds: list[int], parents: Mapping[str, str | None], ngrams: Ngrams) -> list[Line]:
    """Every traced line, those from scratch first. ``parents`` has the recipes'.

    A corpus that a run declares but ``ngrams`` does not look into is left out: it takes an index of its own.
    """
    found = [
        Line(
            recipe, tuple(f"{recipe}-s{seed}" for seed in seeds), parents[recipe],
            tuple(f"{base}-s{seed}" for seed in seeds for base in ngrams.organisms),
        )
        for recipe in (trace.organisms if seeds else [])
    ]  # fmt: skip
    for slug in trace.runs:
        entry = load_run(slug)
        found.append(Line(slug, (slug,), entry.parent, (entry.corpus,) if entry.corpus in ngrams.corpora else ()))
    return sorted(found, key=lambda line: line.parent is not None)
