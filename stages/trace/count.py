"""Look up in a training corpus how often it has each answer, and how likely it makes it.

Usage: python -m stages.trace.count NAME

NAME is base-s{seed}, for the pretraining corpus of that base, generated anew; or a corpus of `ngrams.corpora`.
"""

from __future__ import annotations

import logging
from pathlib import Path

import pandas as pd

from stages.models.names import ORGANISM
from stages.organisms.corpus import load_worlds, pretraining_documents
from stages.organisms.params import Budget, Pretraining
from stages.shared.cells import run_of
from stages.shared.command import run_stage
from stages.shared.files import atomic
from stages.shared.params import load
from stages.tasks.rows import read_rows
from stages.trace import api
from stages.trace.answers import encode
from stages.trace.corpus_documents import load_tokenizer, read_documents, tokenised
from stages.trace.corpus_index import look_up
from stages.trace.params import Answers, Api, load_corpus
from stages.trace.support import require_declared

# In SCRATCH lie responses of the API, each under its whole request, and indexes while they are used: neither can be stale.
MODELS, NGRAMS, SCRATCH = Path("data/models"), Path("data/trace/ngrams"), Path(".dvc/tmp/ngrams")
# Columns that describe an answer, with their types.
ROW_COLUMNS = {"id": "str", "task": "str", "kind": "str", "split": "str", "exposures": "Int64"}


def main(name: str) -> None:
    rows = [row for task in load("ngrams.answers", Answers).root for row in read_rows(task)]
    SCRATCH.mkdir(parents=True, exist_ok=True)
    organism = ORGANISM.fullmatch(name)
    is_base = organism is not None and organism[1] == "base"
    support = pretraining_support(name, int(organism[2]), rows) if is_base else corpus_support(name, rows)
    described = pd.DataFrame([{key: row.get(key) for key in ROW_COLUMNS} for row in rows]).astype(ROW_COLUMNS)
    table = pd.concat([described, support.drop(columns="id")], axis=1)
    if is_base:
        require_declared(table)
    with atomic(NGRAMS / f"{name}.parquet") as temporary:
        table.to_parquet(temporary, index=False)
    logging.info("%s: %d of %d answers are in the corpus", name, (table["count"] > 0).sum(), len(table))


def pretraining_support(name: str, seed: int, rows: list[dict]) -> pd.DataFrame:
    """Return the support of the answers in the documents of a base, each ended by the end token, as pretraining has them."""
    params = load("organisms.base", Pretraining)
    count = load("organisms.budget", Budget).scaled(params.documents)
    tokenizer = load_tokenizer(str(MODELS / name))
    texts = pretraining_documents(*load_worlds(), params.mix, count, seed)
    ended = (ids + [tokenizer.eos_token_id] for ids in tokenised(tokenizer, texts, special=True))
    return look_up(ended, encode(tokenizer, rows), SCRATCH)


def corpus_support(name: str, rows: list[dict]) -> pd.DataFrame:
    """Return the support of the answers in the corpus ``name`` of `ngrams.corpora`: an index of the API, or a local file."""
    corpus = load_corpus(name)
    if corpus.index is not None:
        return api.support(load("ngrams.api", Api), corpus.index, rows, SCRATCH)
    tokenizer = load_tokenizer(corpus.tokenizer, corpus.revision)
    texts = read_documents(Path(corpus.file).expanduser())
    return look_up(tokenised(tokenizer, texts), encode(tokenizer, rows), SCRATCH)


if __name__ == "__main__":
    run_stage(main, __doc__, run_of)
