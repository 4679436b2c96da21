"""Documents of a local corpus, as token ids."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path

from tqdm import tqdm
from transformers import PreTrainedTokenizerBase

from stages.activations.tokens import text_ids
from stages.models.tokenizers import read_tokenizer
from stages.shared.files import FileSource
from stages.shared.json_files import decode_text, parse_json
from stages.tasks.documents import TextRow
from stages.trace.answers import CorpusError

# Number of documents tokenised at once.
BATCH = 1000


def load_tokenizer(name: str, revision: str | None = None) -> PreTrainedTokenizerBase:
    """Return the tokenizer of a folder, or of the hub at a revision. Raises CorpusError naming it and the fix."""
    try:
        return read_tokenizer(name, revision)
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
    source = FileSource(
        "an object with the key `text`" if path.suffix == ".jsonl" else "text", "correct it", CorpusError
    )
    with path.open("rb") as file:
        for number, content in enumerate(file, 1):
            line = decode_text(content, f"{path}, line {number}", source)
            if line.strip():
                line = line.rstrip("\n")
                yield (
                    line if path.suffix == ".txt" else parse_json(line, TextRow, f"{path}, line {number}", source).text
                )


def tokenised(tokenizer: PreTrainedTokenizerBase, texts: Iterable[str], special: bool = False) -> Iterator[list[int]]:
    """Yield the token ids of each text, with the special tokens in front of it or without."""
    texts = iter(tqdm(texts, desc="documents", mininterval=5))
    while batch := list(itertools.islice(texts, BATCH)):
        yield from text_ids(tokenizer, batch, special)
