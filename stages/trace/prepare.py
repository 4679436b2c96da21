"""Write the documents on which training is traced: the organisms' own held-out text, a hub data set, or a local file.

Usage: python -m stages.trace.prepare NAME
"""

from __future__ import annotations

import logging

from stages.organisms.corpus import load_worlds
from stages.organisms.params import Mix
from stages.shared.cells import named_by
from stages.shared.command import run_stage
from stages.shared.params import load
from stages.tasks.documents import write_text_documents
from stages.trace.organism_text import held_out_documents
from stages.trace.text_registry import OrganismText, load_text
from stages.trace.text_source import read_documents


def main(name: str) -> None:
    entry = load_text(name)
    if isinstance(entry, OrganismText):
        documents = held_out_documents(*load_worlds(), load("organisms.base.mix", Mix), entry.documents, entry.seed)
    else:
        documents = read_documents(entry)
    write_text_documents(name, documents)
    logging.info("%s: %d documents", name, len(documents))


if __name__ == "__main__":
    run_stage(main, __doc__, named_by("trace.text"))
