"""Write the hierarchy of concepts, data/concepts/words/hierarchy.json: python -m stages.concepts.prepare."""

from __future__ import annotations

import logging
from pathlib import Path

from stages.concepts.ontologies import wordnet
from stages.concepts.ontologies.hierarchy import Hierarchy, write_hierarchy
from stages.concepts.ontologies.organisms import hierarchy_of
from stages.concepts.params import Concepts
from stages.shared.command import run_stage
from stages.shared.params import load
from stages.tasks import ontology

HIERARCHY = Path("data/concepts/words/hierarchy.json")


def main() -> None:
    params = load("concepts", Concepts)
    found = hierarchy(params)
    write_hierarchy(HIERARCHY, found)
    logging.info("%d kinds, %d words, %d of them held out", len(found.kinds), len(found.words), len(found.held_out))


def hierarchy(params: Concepts) -> Hierarchy:
    wanted = params.ontology
    if wanted.source == "organisms":
        world = ontology.build_world(load("tasks.ontology", ontology.Params))
        return hierarchy_of(world, wanted.held_out, params.seed, wanted.least_words)
    chosen = wordnet.Selection(wanted.parts, wanted.least_words, wanted.most_kinds, wanted.held_out, params.seed)
    if wanted.source == "file":
        return wordnet.from_file(Path(wanted.file), chosen)
    return wordnet.from_lexicon(wanted.lexicon, chosen)


if __name__ == "__main__":
    run_stage(main, __doc__)
