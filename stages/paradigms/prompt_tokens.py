"""Prompts of a task as token ids: what collect, probe and perturb feed to their models."""

from __future__ import annotations

from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

from stages.activations.tokens import Tokens, tokenise
from stages.tasks.rows import read_tasks


def held_out_tokens(
    task: str, tokenizer: PreTrainedTokenizerBase, prompts: int, prompt_format: str = "plain"
) -> Tokens:
    """Return the first ``prompts`` held-out prompts of ``task`` as `tokenise_rows` makes them."""
    return tokenise_rows(read_tasks([task], "held_out", prompts), tokenizer, prompt_format)


def tokenise_rows(
    rows: Sequence[dict],
    tokenizer: PreTrainedTokenizerBase,
    prompt_format: str = "plain",
    continuations: Sequence[str] | None = None,
) -> Tokens:
    """Return the token ids of the rows of a task file; formats, continuations and errors are those of `tokenise`."""
    prompts, prompt_ids = [row["prompt"] for row in rows], [row["id"] for row in rows]
    return tokenise(tokenizer, prompts, prompt_ids, prompt_format, continuations)
