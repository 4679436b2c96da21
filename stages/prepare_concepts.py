"""Write the hierarchy of concepts, data/concepts/words/hierarchy.json: python -m stages.prepare_concepts."""

from __future__ import annotations

import logging
from pathlib import Path

from stages.ontologies import wordnet
from stages.ontologies.hierarchy import Hierarchy, write_hierarchy
from stages.ontologies.organisms import hierarchy_of
from stages.params.concepts import Concepts
from stages.params.loading import load
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
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    main()
