"""Support of an answer in a corpus, computed from the responses of an infinity-gram index to its tokens."""

from __future__ import annotations

import logging
import math
from typing import NamedTuple

import pandas as pd

from stages.trace.answers import CorpusError

log = logging.getLogger(__name__)


class Match(NamedTuple):
    """How the corpus continues the context of one token of an answer."""

    suffix: int
    """Number of tokens of the longest suffix of the context that occurs in the corpus; 0 where none of it does."""
    occurrences: int
    """Number of times that this suffix occurs; with suffix 0 all tokens of the corpus, ends of documents included."""
    continued: int
    """Number of times that the token follows it."""


def support_row(answer: str, count: int, matches: list[Match]) -> dict:
    """Return the support of the answer with the id ``answer``; ``matches`` has one entry for each of its tokens.

    - ``count``: occurrences of prompt and answer;
    - ``probability``: the product over the answer's tokens of the infinity-gram probability
      continued / occurrences (Liu et al. 2024, arXiv:2401.17377);
    - ``matched``: the smallest matched n over the tokens, that is suffix + 1; ``matched_count``: how often that suffix
      occurs (the rarest, where several are as short);
    - ``zero_tokens``: tokens of probability zero. They count: one of them makes the product 0.
    """
    suffix, occurrences = min((match.suffix, match.occurrences) for match in matches)
    return {
        "id": answer,
        "tokens": len(matches),
        "count": count,
        "probability": math.prod(match.continued / match.occurrences for match in matches),
        "matched": suffix + 1,
        "matched_count": occurrences,
        "zero_tokens": sum(match.continued == 0 for match in matches),
    }


def require_declared(table: pd.DataFrame) -> None:
    """Raise CorpusError where an arbitrary fact does not stand in the corpus as often as its ``exposures`` declare.

    Such a corpus is not the one that the facts were declared for.
    """
    arbitrary = table[table["kind"] == "arbitrary"]
    mismatches = arbitrary[arbitrary["count"] != arbitrary["exposures"]]
    log.info("%d of %d arbitrary facts stand as often as declared", len(arbitrary) - len(mismatches), len(arbitrary))
    if len(mismatches):
        row = mismatches.iloc[0]
        raise CorpusError(
            f"{row['id']} stands {row['count']} times in the corpus, its row declares {row['exposures']}: params, task "
            "file and tokenizer belong to different runs; run `dvc repro base`"
        )
