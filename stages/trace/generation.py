"""Sampled completions of a batch of prompts, on whatever device the model is."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

# Number of prompts at a time: the cache that generation keeps for each grows with its length.
PROMPTS = 128


@torch.inference_mode()
def completions(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompts: Sequence[str], new_tokens: int, seed: int
) -> list[str | None]:
    """Return one completion per prompt at temperature 1, without its end token; None where it was cut off before one.

    The random stream depends on ``seed`` and the batch alone; the caller's stream is left as it was.
    """
    texts: list[str | None] = []
    for start in range(0, len(prompts), PROMPTS):
        batch = tokenizer(
            list(prompts[start : start + PROMPTS]),
            return_tensors="pt",
            padding=True,
            padding_side="left",
            return_token_type_ids=False,
        ).to(model.device)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            output = model.generate(
                **batch,
                max_new_tokens=new_tokens,
                do_sample=True,
                temperature=1.0,
                top_k=0,
                top_p=1.0,
                pad_token_id=tokenizer.pad_token_id,
                eos_token_id=tokenizer.eos_token_id,
            )
        for ids in output[:, batch["input_ids"].shape[1] :].tolist():
            ended = tokenizer.eos_token_id in ids
            ids = ids[: ids.index(tokenizer.eos_token_id)] if ended else ids
            texts.append(tokenizer.decode(ids, skip_special_tokens=True) if ended else None)
    return texts
