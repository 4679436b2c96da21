"""Write the hierarchy of concepts, data/concepts/words/hierarchy.json: python -m stages.concepts.prepare."""

from __future__ import annotations

import logging
from pathlib import Path

from stages.concepts.ontologies import wordnet
from stages.concepts.ontologies.hierarchy import Hierarchy, write_hierarchy
from stages.concepts.ontologies.organisms import hierarchy_of
from stages.concepts.params import Concepts, Ontology
from stages.shared.command import run_stage
from stages.shared.params import load
from stages.tasks import ontology

HIERARCHY = Path("data/concepts/words/hierarchy.json")


def main() -> None:
    params = load("concepts", Concepts)
    concepts = source_hierarchy(params.ontology, params.seed)
    write_hierarchy(HIERARCHY, concepts)
    counts = len(concepts.kinds), len(concepts.words), len(concepts.held_out)
    logging.info("%d kinds, %d words, %d of them held out", *counts)


def source_hierarchy(source: Ontology, seed: int) -> Hierarchy:
    """Return the hierarchy of the organisms' world, of a file or of a lexicon, as ``source`` says."""
    if source.source == "organisms":
        world = ontology.build_world(load("tasks.ontology", ontology.Params))
        return hierarchy_of(world, source.held_out, seed, source.least_words)
    selection = wordnet.Selection(source.parts, source.least_words, source.most_kinds, source.held_out, seed)
    if source.source == "file":
        return wordnet.from_file(Path(source.file), selection)
    return wordnet.from_lexicon(source.lexicon, selection)


if __name__ == "__main__":
    run_stage(main, __doc__)
