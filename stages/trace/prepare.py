"""Write the documents on which training is traced: the organisms' own held-out text, a hub data set, or a local file.

Usage: python -m stages.trace.prepare NAME
"""

from __future__ import annotations

import logging

from stages.organisms.params import Mix
from stages.shared.command import run_stage
from stages.shared.params import load
from stages.tasks import facts, ontology
from stages.tasks.documents import write_documents
from stages.trace.organism_text import held_out_documents
from stages.trace.text_registry import OrganismText, load_text
from stages.trace.text_source import read_documents


def main(name: str) -> None:
    entry = load_text(name)
    documents = of_organisms(entry) if isinstance(entry, OrganismText) else read_documents(entry)
    write_documents(name, documents)
    logging.info("%s: %d documents", name, len(documents))


def of_organisms(entry: OrganismText) -> list[str]:
    world = ontology.build_world(load("tasks.ontology", ontology.Params))
    people = facts.build_people(load("tasks.facts", facts.Params))
    return held_out_documents(world, people, load("organisms.base.mix", Mix), entry.documents, entry.seed)


if __name__ == "__main__":
    run_stage(main, __doc__)
