"""Pin the local files behind a training run or a corpus, which DVC cannot see: python -m stages.trace.pin KIND NAME.

KIND is run or corpus. What is written changes with weights, configuration and tokenizer of every local checkpoint, or
with the corpus's file and tokenizer; it is empty for what lies on the hub or behind the API.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from stages.models.runs import local_identities, small_files_hash
from stages.shared.command import run_stage
from stages.shared.files import write_json
from stages.trace.answers import CorpusError
from stages.trace.params import load_corpus

PINS = Path("data/trace/pins")


def main(kind: str, name: str) -> None:
    identities = {"run": local_identities, "corpus": corpus_identities}
    if kind not in identities:
        raise CorpusError(f"{kind!r}: expected {' or '.join(identities)}")
    write_json(PINS / kind / f"{name}.json", identities[kind](name))


def corpus_identities(name: str) -> dict[str, str]:
    """Return the hashes of the file and of the tokenizer's folder, of what is local of the corpus ``name``.

    Raises CorpusError where there is no such file.
    """
    corpus = load_corpus(name)
    identities = {}
    if corpus.file is not None:
        if not Path(corpus.file).is_file():
            raise CorpusError(f"{corpus.file} is not a file in {Path.cwd()}: correct `file` of the corpus")
        with open(corpus.file, "rb") as file:
            identities["file"] = hashlib.file_digest(file, "sha256").hexdigest()
        if Path(corpus.tokenizer).is_dir():
            identities["tokenizer"] = small_files_hash(Path(corpus.tokenizer))
    return identities


if __name__ == "__main__":
    run_stage(main, __doc__)
