"""An infini-gram index over token ids: build it, look answers up (Liu et al. 2024, arXiv:2401.17377).

The files are the engine's own, format v4, one shard: ``tokenized.0`` has the documents one after another, a separator
(all bits set) in front of each; ``offset.0`` where each begins; ``table.0`` the suffix array, by the engine's indexer.
Tokens stand in 16 bits, as codes in the order in which the corpus first has them: 32 bits would do for any vocabulary,
but the indexer asks for 32 GiB of memory with them, however small the corpus.
"""

from __future__ import annotations

import logging
import math
import os
import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
from tqdm import tqdm

from stages.trace.answers import Answer, CorpusError
from stages.trace.support import Match, support_row

if TYPE_CHECKING:
    from infini_gram.engine import InfiniGramEngine

log = logging.getLogger(__name__)

# Number of bytes of a token.
WIDTH = 2
SEPARATOR = b"\xff" * WIDTH
# The code of every token that the corpus lacks; codes below it are for those that it has.
ABSENT = 2 ** (8 * WIDTH) - 2
# Number of bytes of tokens that are sorted at once; sorting takes about eight times as much memory.
PART = 2**28
# Number of bytes by which parts overlap (the indexer's own value): repetitions longer than that may be sorted wrongly.
OVERLAP = 100_000
# The engine tells its files by these words anywhere in their path.
AMBIGUOUS = ("tokenized", "table", "offset", "metadata", "metaoff", "unigram")


class CorpusIndex(NamedTuple):
    """An opened index, and the codes under which it has the tokens."""

    engine: InfiniGramEngine
    codes: dict[int, int]
    """The code of every token id that the corpus has."""


def build_index(documents: Iterable[list[int]], folder: Path) -> CorpusIndex:
    """Write the index of ``documents``, lists of token ids, into the empty ``folder`` and open it.

    Raises CorpusError on a corpus without tokens or with too many distinct ones, a folder that the engine would
    misread, and a failure of the indexer.
    """
    folder = Path(os.path.relpath(folder))  # then the path to the working folder may hold any word
    if word := next((word for word in AMBIGUOUS if word in str(folder)), None):
        raise CorpusError(f"{folder}: the engine takes {word!r} in a path for one of its files: choose another folder")
    engine = _engine()
    codes = _write_documents(documents, folder)
    _sort(folder, Path(engine.__file__).parent / "rust_indexing")
    # The end token only matters where the engine prints documents.
    return CorpusIndex(
        engine.InfiniGramEngine(index_dir=[str(folder)], eos_token_id=0, version=4, token_dtype="u16"), codes
    )


def support(index: CorpusIndex, answers: list[Answer]) -> pd.DataFrame:
    """Return one row per answer: id, tokens, count, probability, matched, matched_count, zero_tokens; see `support_row`.

    The tokenizer's own beginning is left out of every query.
    """
    rows = []
    for answer in tqdm(answers, desc="answers", mininterval=5):
        codes = [index.codes.get(token, ABSENT) for token in answer.ids[answer.beginning :]]
        positions = range(answer.start - answer.beginning, len(codes))
        matches = [_match(index.engine.infgram_prob(codes[:position], codes[position])) for position in positions]
        rows.append(support_row(answer.id, index.engine.count(codes)["count"], matches))
    return pd.DataFrame(rows)


def look_up(documents: Iterable[list[int]], answers: list[Answer], scratch: Path) -> pd.DataFrame:
    """Return the support of the answers in the documents.

    The index lies in a folder of its own in ``scratch`` while it is needed; none is taken from an earlier run.
    """
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        return support(build_index(documents, Path(folder)), answers)


def _match(response: dict) -> Match:
    return Match(response["suffix_len"], response["prompt_cnt"], response["cont_cnt"])


def _write_documents(documents: Iterable[list[int]], folder: Path) -> dict[int, int]:
    """Write ``tokenized.0`` and ``offset.0``; return the codes of the tokens."""
    codes: dict[int, int] = {}
    offset = 0
    with open(folder / "tokenized.0", "wb") as data, open(folder / "offset.0", "wb") as offsets:
        for document in documents:
            coded = [codes.setdefault(token, len(codes)) for token in document]
            if len(codes) > ABSENT:
                raise CorpusError(
                    f"the corpus has more than {ABSENT} distinct tokens, more than 16 bits hold: "
                    "take less of it, a tokenizer with fewer tokens, or a corpus of the public API"
                )
            offsets.write(np.uint64(offset).tobytes())
            offset += data.write(SEPARATOR + np.array(coded, dtype="<u2").tobytes())
    if not codes:
        raise CorpusError("the corpus has no tokens: nothing could be found in it; name documents with text")
    log.info("index of %d bytes of tokens, %d distinct", offset, len(codes))
    return codes


def _sort(folder: Path, indexer: Path) -> None:
    """Write ``table.0`` from ``tokenized.0``, in parts that fit into memory."""
    data, table, parts, merged = (folder / name for name in ("tokenized.0", "table.0", "parts", "merged"))
    size = data.stat().st_size
    common = [f"--data-file={data}", f"--ratio={math.ceil(math.log2(size) / 8)}", f"--token-width={WIDTH}"]
    parts.mkdir()
    merged.mkdir()
    for start, end in tqdm(part_bounds(size), desc="suffix array", unit="part", disable=size <= PART):
        _run(indexer, "make-part", *common, f"--parts-dir={parts}", f"--start-byte={start}", f"--end-byte={end}")
    merging = [*common, f"--merged-dir={merged}", "--num-threads=1"]
    _run(indexer, "merge", *merging, f"--parts-dir={parts}", f"--hacksize={OVERLAP}")
    _run(indexer, "concat", *merging, f"--merged-file={table}")


def part_bounds(size: int) -> list[tuple[int, int]]:
    """Return first byte and end of parts of whole tokens, of equal length: the indexer loses suffixes of a short last one."""
    count = math.ceil(size / PART)
    step = math.ceil(size / count / WIDTH) * WIDTH
    return [(start, min(start + step + OVERLAP, size)) for start in range(0, size, step)]


def _run(indexer: Path, command: str, *arguments: str) -> None:
    process = subprocess.run(
        [str(indexer), command, *arguments], capture_output=True, encoding="utf-8", errors="replace"
    )
    if process.returncode:
        raise CorpusError(
            f"{indexer.name} {command} failed with status {process.returncode}, for want of memory or space on the disk? "
            f"{process.stderr.strip()[-500:]}"
        )


def _engine() -> ModuleType:
    """Return the engine's module; it has wheels for Linux on x86-64 alone."""
    try:
        from infini_gram import engine  # an optional package
    except ImportError as error:
        raise CorpusError(
            f"the infini-gram engine is not installed ({error}): on Linux x86-64 run `pip install infini-gram==2.6.0`; "
            "elsewhere go on without it by -S 'ngrams.organisms=[]', or query a corpus through the public API"
        ) from error
    return engine
