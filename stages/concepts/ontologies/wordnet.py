"""Concept hierarchies from wordnets: a lexicon of `wn` by its pinned name, or a WN-LMF file.

A kind is a synset with enough hyponyms, each of which gives one word; above it stands its lexicographer file
(noun.animal, verb.motion). Read through `wn`; its database lies in a temporary folder unless a lexicon is downloaded.
"""

from __future__ import annotations

import logging
import re
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import wn

from stages.concepts.ontologies.hierarchy import Hierarchy, OntologyError, checked_hierarchy, hold_out

# A lemma that can be one token: no names, no compounds.
WORD = re.compile(r"[a-z]{3,}")
log = logging.getLogger(__name__)


class Selection(NamedTuple):
    """The rule by which synsets become kinds."""

    parts: Sequence[str]
    """Parts of speech: n, v."""
    least: int
    """Least number of words of a kind."""
    most: int
    """Most kinds: those with the most words are taken."""
    held_out: float
    """Share of the words of each kind that is held out."""
    seed: int


def from_file(path: Path, selection: Selection) -> Hierarchy:
    """Read a WN-LMF file. Raises OntologyError where it is missing or no such file, and as `checked_hierarchy` does."""
    if not path.is_file():
        raise OntologyError(f"{path} not found: correct concepts.ontology.file")
    with tempfile.TemporaryDirectory() as folder, _database(Path(folder)):
        try:
            wn.add(path, progress_handler=None)
            lexicon = wn.lexicons()[0].specifier()
        except Exception as error:  # of its XML parser, its own, or of the database
            raise OntologyError(
                f"{path} is no WN-LMF file ({type(error).__name__}: {error}): restore it from git"
            ) from error
        return select(wn.Wordnet(lexicon, expand=""), selection)


def from_lexicon(name: str, selection: Selection) -> Hierarchy:
    """Read a lexicon such as oewn:2024, downloaded once into the folder of `wn`. Raises OntologyError as `from_file` does."""
    if ":" not in name:
        raise OntologyError(f"lexicon {name!r}: expected name:version, such as oewn:2024; an unpinned one changes")
    if name not in {lexicon.specifier() for lexicon in wn.lexicons()}:
        try:
            wn.download(name, progress_handler=None)
        except Exception as error:  # of the network, or an unknown name
            raise OntologyError(
                f"cannot download the lexicon {name!r} ({type(error).__name__}: {error}): connect once, or set "
                "concepts.ontology.source to file or organisms"
            ) from error
    return select(wn.Wordnet(name, expand=""), selection)


def select(wordnet: wn.Wordnet, selection: Selection) -> Hierarchy:
    """Return the kinds with the most words; a word that would stand under two of them is left out, and logged."""
    _require_no_cycle(wordnet, selection.parts)
    candidates = {s.id: (s, _words(s)) for part in selection.parts for s in wordnet.synsets(pos=part) if s.hyponyms()}
    enough = {key: candidate for key, candidate in candidates.items() if len(candidate[1]) >= selection.least}
    chosen = sorted(enough, key=lambda key: (-len(enough[key][1]), key))[: selection.most]
    counts = Counter(word for key in chosen for word in enough[key][1])
    if twice := sorted(word for word, count in counts.items() if count > 1):
        log.info("%d words stand under two kinds and are left out: %s", len(twice), ", ".join(twice[:10]))
    kinds: dict[str, str | None] = {}
    words: dict[str, str] = {}
    for key in chosen:
        synset, members = enough[key]
        members = [word for word in members if counts[word] == 1]
        if len(members) >= selection.least:
            name = f"{synset.lemmas()[0]}.{synset.pos}"
            name = name if name not in kinds else key
            top = synset.lexfile() or synset.pos
            kinds |= {top: None, name: top}
            words |= dict.fromkeys(members, name)
    if not kinds:
        largest = max((len(members) for _, members in candidates.values()), default=0)
        raise OntologyError(
            f"no synset of {', '.join(selection.parts)} has {selection.least} words of one token's form among its hyponyms (the "
            f"largest has {largest}): lower concepts.ontology.least_words"
        )
    return checked_hierarchy(kinds, words, hold_out(words, selection.held_out, selection.seed), selection.least)


def _words(synset: wn.Synset) -> list[str]:
    """Return one word of each hyponym: its first lemma of one lower-case word."""
    lemmas = (next((lemma for lemma in lower.lemmas() if WORD.fullmatch(lemma)), None) for lower in synset.hyponyms())
    return list(dict.fromkeys(word for word in lemmas if word is not None))


def _require_no_cycle(wordnet: wn.Wordnet, parts: Sequence[str]) -> None:
    """Search hypernyms depth first; OntologyError naming the cycle."""
    hypernyms = {s.id: [upper.id for upper in s.hypernyms()] for part in parts for s in wordnet.synsets(pos=part)}
    done: set[str] = set()
    for start in hypernyms:
        path, trail = [iter([start])], []
        while path:
            nearest = next(path[-1], None)
            if nearest is None:
                path.pop()
                if trail:
                    done.add(trail.pop())
            elif nearest in trail:
                cycle = " < ".join([*trail[trail.index(nearest) :], nearest])
                raise OntologyError(f"the hierarchy has a cycle: {cycle}; expected hypernyms to end, take a link away")
            elif nearest not in done:
                trail.append(nearest)
                path.append(iter(hypernyms.get(nearest, [])))


@contextmanager
def _database(folder: Path) -> Iterator[None]:
    """Let `wn` have its database in ``folder``, inside the context."""
    previous = wn.config.data_directory
    wn.config.data_directory = folder
    try:
        yield
    finally:
        wn.config.data_directory = previous
