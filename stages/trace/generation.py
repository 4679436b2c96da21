"""Sampled completions of a batch of prompts, on whatever device the model is."""

from __future__ import annotations

from collections.abc import Sequence

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from stages.activations.generation import generate
from stages.activations.tokens import named_texts

# Number of prompts at a time: the cache that generation keeps for each grows with its length.
PROMPTS = 128


def completions(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    new_tokens: int,
    seed: int,
    names: Sequence[str] | None = None,
) -> list[str | None]:
    """Return one completion per prompt at temperature 1, without its end token; None where it was cut off before one.

    The random stream depends on ``seed`` and the batch alone; the caller's stream is left as it was. ``names`` are what
    errors call the prompts; else they are told by their text. Raises CollectionError as `generate` does.
    """
    texts, end_token = named_texts(tokenizer, prompts, names), tokenizer.eos_token_id
    sampled = [
        ids
        for start in range(0, len(prompts), PROMPTS)
        for ids in generate(
            model, texts.subset(range(start, min(start + PROMPTS, len(prompts)))), new_tokens, end_token, seed
        )
    ]
    return [
        tokenizer.decode(ids[:-1], skip_special_tokens=True) if ids and ids[-1] == end_token else None
        for ids in sampled
    ]
