"""Prompts of a task as token ids: what collect, probe and perturb feed to their models."""

from __future__ import annotations

from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

from stages.activations.tokens import Tokens, tokenise
from stages.activations.words import require_same_words
from stages.models.checkpoint import Checkpoint
from stages.tasks.rows import read_tasks


def held_out_tokens(
    task: str, tokenizer: PreTrainedTokenizerBase, prompts: int, prompt_format: str = "plain"
) -> Tokens:
    """Return the first ``prompts`` held-out prompts of ``task`` as `tokenise_rows` makes them."""
    return tokenise_rows(read_tasks([task], "held_out", prompts), tokenizer, prompt_format)


def fed_tokens(
    checkpoint: Checkpoint,
    tokenizer: PreTrainedTokenizerBase,
    tasks: Sequence[str],
    prompts: int,
    prompt_format: str = "plain",
) -> dict[str, Tokens]:
    """Return `held_out_tokens` of every task, for the model of ``checkpoint``.

    Raises CollectionError as `require_same_words` does; a model in its own chat template has its own tokenizer.
    """
    tokens = {task: held_out_tokens(task, tokenizer, prompts, prompt_format) for task in tasks}
    if prompt_format != "chat":
        require_same_words(checkpoint, tokenizer, [ids for task_tokens in tokens.values() for ids in task_tokens.ids])
    return tokens


def tokenise_rows(
    rows: Sequence[dict],
    tokenizer: PreTrainedTokenizerBase,
    prompt_format: str = "plain",
    continuations: Sequence[str] | None = None,
) -> Tokens:
    """Return the token ids of the rows of a task file; formats, continuations and errors are those of `tokenise`."""
    prompts, prompt_ids = [row["prompt"] for row in rows], [row["id"] for row in rows]
    return tokenise(tokenizer, prompts, prompt_ids, prompt_format, continuations)
