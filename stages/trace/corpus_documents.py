"""Documents of a local corpus, as token ids."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from tqdm import tqdm
from transformers import PreTrainedTokenizerBase

from stages.models.tokenizers import read_tokenizer
from stages.trace.answers import CorpusError

# Number of documents tokenised at once.
BATCH = 1000


def load_tokenizer(name: str, revision: str | None = None) -> PreTrainedTokenizerBase:
    """Return the tokenizer of a folder, or of the hub at a revision. Raises CorpusError naming it and the fix."""
    try:
        return read_tokenizer(os.path.expanduser(name), revision)
    except (OSError, ValueError) as error:
        raise CorpusError(
            f"no tokenizer {name!r}{f' at {revision}' if revision else ''}: expected a folder with tokenizer.json "
            f"(`dvc pull` it, or run the stage that makes it), or a hub id; a first use needs a connection ({error})"
        ) from error


def read_documents(path: Path) -> Iterator[str]:
    """Yield one document per line: the line of a .txt file, ``text`` of a .jsonl file; blank lines are none.

    Raises CorpusError naming the file, the line and what was expected.
    """
    if path.suffix not in (".txt", ".jsonl"):
        raise CorpusError(f"{path}: unknown kind of file: expected .txt or .jsonl, one document a line")
    if not path.is_file():
        raise CorpusError(f"{path} is not a file in {Path.cwd()}: correct `file` of the corpus")
    with open(path, encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                yield line.rstrip("\n") if path.suffix == ".txt" else _text(line, f"{path}, line {number}")


def _text(line: str, location: str) -> str:
    try:
        text = json.loads(line)["text"]
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise CorpusError(f"{location}: expected an object with the key `text`, found {line[:80]!r}") from error
    if not isinstance(text, str):
        raise CorpusError(f"{location}: `text` is {text!r}, expected a string")
    return text


def tokenised(tokenizer: PreTrainedTokenizerBase, texts: Iterable[str], special: bool = False) -> Iterator[list[int]]:
    """Yield the token ids of each text, with the tokenizer's special tokens or without."""
    texts = iter(tqdm(texts, desc="documents", mininterval=5))
    while batch := list(itertools.islice(texts, BATCH)):
        yield from tokenizer(batch, add_special_tokens=special, truncation=False, verbose=False)["input_ids"]
