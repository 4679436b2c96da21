"""Prompts with their answers as token ids, and where the answer begins."""

from __future__ import annotations

from typing import NamedTuple

from transformers import PreTrainedTokenizerBase

from stages.activations.tokens import encode_texts


class CorpusError(ValueError):
    """A corpus or its answers cannot be used; the message names what, what was expected and the fix."""


class Answer(NamedTuple):
    """A prompt and its answer, tokenised as one text."""

    id: str
    ids: list[int]
    """Prompt and answer, with the tokenizer's own beginning."""
    start: int
    """Position of the answer's first token."""
    beginning: int = 0
    """Number of special tokens in front of the text: a corpus has them only where its documents begin."""


def joined(prompt: str, answer: str) -> str:
    """Return the text in which the answer goes on from the prompt: after a space, if no white space stands there."""
    return prompt + answer if prompt[-1:].isspace() else f"{prompt} {answer}"


def require_answer(row: dict) -> None:
    """Raise CorpusError naming the row whose answer is empty."""
    if not row["answer"].strip():
        raise CorpusError(f"{row['id']} has the answer {row['answer']!r}, expected text: remove the row from its task")


def encode(tokenizer: PreTrainedTokenizerBase, rows: list[dict]) -> list[Answer]:
    """Return the token ids of prompt and answer, tokenised jointly, and the position of the answer's first token.

    The answer begins at the first token whose span of characters ends after the prompt's last character. So an answer
    that also occurs in the prompt is not mistaken, and a token that holds the end of the prompt and the beginning of
    the answer counts as the answer's: tokenising the prompt alone would put the boundary elsewhere.

    Raises CorpusError on a tokenizer without character offsets, an empty answer, and an answer without a token.
    """
    if not tokenizer.is_fast:
        raise CorpusError(
            f"the tokenizer {tokenizer.name_or_path!r} ({type(tokenizer).__name__}) gives no character offsets: "
            "use a fast one (a folder or hub id with tokenizer.json)"
        )
    for row in rows:
        require_answer(row)
    texts = [joined(row["prompt"], row["answer"]) for row in rows]
    answers = []
    for row, text in zip(rows, encode_texts(tokenizer, texts, offsets=True), strict=True):
        ends = (stop for _, stop in text.offsets)
        start = next((position for position, stop in enumerate(ends) if stop > len(row["prompt"])), None)
        if start is None:
            raise CorpusError(
                f"{row['id']}: the answer {row['answer']!r} has no token of its own in {tokenizer.name_or_path!r}: "
                "the tokenizer drops its characters; remove the row or choose another tokenizer"
            )
        answers.append(Answer(row["id"], text.ids, start, text.beginning))
    return answers
