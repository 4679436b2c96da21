"""Look up in a training corpus how often it has each answer, and how likely it makes it.

Usage: python -m stages.trace.count NAME

NAME is base-s{seed}, for the pretraining corpus of that base, generated anew; or a corpus of `ngrams.corpora`.
"""

from __future__ import annotations

import logging
from pathlib import Path

import pandas as pd

from stages.models.names import ORGANISM
from stages.organisms.corpus import documents
from stages.organisms.params import Budget, Pretraining
from stages.shared.command import run_stage
from stages.shared.files import atomic
from stages.shared.params import load
from stages.tasks import facts, ontology
from stages.tasks.rows import read_rows
from stages.trace import api
from stages.trace.answers import encode
from stages.trace.corpus_documents import load_tokenizer, read_documents, tokenised
from stages.trace.corpus_index import look_up
from stages.trace.params import Answers, Api, load_corpus
from stages.trace.support import require_declared

MODELS, NGRAMS, SCRATCH = Path("data/models"), Path("data/trace/ngrams"), Path(".dvc/tmp/ngrams")
DESCRIBED = {"id": "str", "task": "str", "kind": "str", "split": "str", "exposures": "Int64"}


def main(name: str) -> None:
    rows = [row for task in load("ngrams.answers", Answers).root for row in read_rows(task)]
    SCRATCH.mkdir(parents=True, exist_ok=True)
    organism = ORGANISM.fullmatch(name)
    of_base = organism is not None and organism[1] == "base"
    found = of_pretraining(name, int(organism[2]), rows) if of_base else of_corpus(name, rows)
    described = pd.DataFrame([{key: row.get(key) for key in DESCRIBED} for row in rows]).astype(DESCRIBED)
    table = pd.concat([described, found.drop(columns="id")], axis=1)
    if of_base:
        require_declared(table)
    with atomic(NGRAMS / f"{name}.parquet") as temporary:
        table.to_parquet(temporary, index=False)
    logging.info("%s: %d of %d answers are in the corpus", name, (table["count"] > 0).sum(), len(table))


def of_pretraining(name: str, seed: int, rows: list[dict]) -> pd.DataFrame:
    """Support in the documents of a base, each ended by the end token, as pretraining has them."""
    params = load("organisms.base", Pretraining)
    world = ontology.build_world(load("tasks.ontology", ontology.Params))
    people = facts.build_people(load("tasks.facts", facts.Params))
    count = load("organisms.budget", Budget).steps(params.documents)
    tokenizer = load_tokenizer(str(MODELS / name))
    texts = documents(world, people, params.mix, count, seed)
    ended = (ids + [tokenizer.eos_token_id] for ids in tokenised(tokenizer, texts, special=True))
    return look_up(ended, encode(tokenizer, rows), SCRATCH)


def of_corpus(name: str, rows: list[dict]) -> pd.DataFrame:
    corpus = load_corpus(name)
    if corpus.index is not None:
        return api.support(load("ngrams.api", Api), corpus.index, rows, SCRATCH)
    tokenizer = load_tokenizer(corpus.tokenizer, corpus.revision)
    texts = read_documents(Path(corpus.file))
    return look_up(tokenised(tokenizer, texts), encode(tokenizer, rows), SCRATCH)


if __name__ == "__main__":
    run_stage(main, __doc__)
