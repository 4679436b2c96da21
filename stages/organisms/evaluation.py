"""Measure held-out accuracy, reasoning format, KL divergence and displacement of an organism."""

from __future__ import annotations

import zlib
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from stages.activations.generation import generate
from stages.activations.passes import require_fit
from stages.activations.tokens import Tokens, named_texts, right_padded, text_ids
from stages.organisms.params import Evaluation
from stages.tasks.item import has_reasoning_format, verify


class PromptEstimate(NamedTuple):
    """A quantity estimated from prompts, with its standard error over them."""

    value: float
    standard_error: float


def sample_completions(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    prompts: list[str],
    new_tokens: int,
    seed: int,
    names: list[str] | None = None,
) -> list[list[int]]:
    """Sample one completion per prompt at temperature 1, as token ids, with its end token unless it was cut off.

    The random stream depends on ``seed`` and the batch alone; the caller's stream is left as it was. ``names`` are what
    errors call the prompts; else they are told by their text. Raises CollectionError as `generate` does.
    """
    model.eval()
    return generate(model, named_texts(tokenizer, prompts, names), new_tokens, tokenizer.eos_token_id, seed)


def graded_samples(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    rows: list[dict],
    params: Evaluation,
    limit: int | None = None,
) -> pd.DataFrame:
    """Sample a completion for each row (with keys id, task, prompt, answer) and grade it, in batches of ``kl_prompts``.

    The first batch of each task is the same whatever ``limit`` is, so the KL divergence of a
    stopping rule and the one reported afterwards read the same samples.
    Columns: task, id, prompt, completion (token ids), correct, in_format, tokens.
    """
    result = []
    for task in dict.fromkeys(row["task"] for row in rows):
        chosen = [row for row in rows if row["task"] == task][:limit]
        for start in range(0, len(chosen), params.kl_prompts):
            part = chosen[start : start + params.kl_prompts]
            seed = zlib.crc32(f"{params.seed}-{task}-{start}".encode())
            prompts, names = [row["prompt"] for row in part], [row["id"] for row in part]
            completions = sample_completions(model, tokenizer, prompts, params.new_tokens, seed, names)
            for row, ids in zip(part, completions, strict=True):
                ended = ids[-1] == tokenizer.eos_token_id
                text = tokenizer.decode(ids, skip_special_tokens=True)
                result.append(
                    {
                        "task": task,
                        "id": row["id"],
                        "prompt": row["prompt"],
                        "completion": ids,
                        "correct": ended and verify(text, row["answer"]),
                        "in_format": ended and has_reasoning_format(text),
                        "tokens": len(ids),
                    }
                )
    return pd.DataFrame(result)


def accuracy(samples: pd.DataFrame) -> dict[str, PromptEstimate]:
    """Return the share of correct answers per task with its binomial standard error, and as ``mean`` that over tasks."""
    tasks = {
        task: PromptEstimate(float(part.mean()), float(np.sqrt(part.mean() * (1 - part.mean()) / len(part))))
        for task, part in samples.groupby("task", sort=False)["correct"]
    }
    return {**tasks, "mean": _mean_over_tasks(list(tasks.values()))}


def gain(samples: pd.DataFrame, base: pd.DataFrame) -> PromptEstimate:
    """Return the mean over tasks of the paired difference in correctness, with its standard error over prompts.

    Raises ValueError where the two sets of samples are on different prompts.
    """
    if list(samples["id"]) != list(base["id"]):
        raise ValueError("the two models were evaluated on different prompts: run the evaluation of both again")
    difference = samples["correct"].astype(float) - base["correct"].to_numpy(dtype=float)
    tasks = [
        PromptEstimate(float(part.mean()), float(part.std(ddof=1) / np.sqrt(len(part))))
        for _, part in difference.groupby(samples["task"], sort=False)
    ]
    return _mean_over_tasks(tasks)


def _mean_over_tasks(estimates: list[PromptEstimate]) -> PromptEstimate:
    values, errors = zip(*estimates, strict=True)
    return PromptEstimate(float(np.mean(values)), float(np.sqrt(np.sum(np.square(errors))) / len(errors)))


@torch.inference_mode()
def kl_divergence(
    model: PreTrainedModel, base: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, samples: pd.DataFrame
) -> PromptEstimate:
    """Return KL(model || base) in nats per token, on the model's own samples.

    Per position the exact divergence over the vocabulary, sum_v p(v) ln(p(v) / q(v)); the mean over
    completion tokens is a ratio of sums over prompts, its standard error by linearisation.
    """
    model.eval()
    base.eval()
    divergence, tokens = [], []
    for _, part in samples.groupby("task", sort=False):
        prompts = text_ids(tokenizer, part["prompt"].tolist())
        rows = [np.array(prompt + list(ids)) for prompt, ids in zip(prompts, part["completion"], strict=True)]
        require_fit(model, Tokens(tuple(part["id"]), rows, []))
        ids, mask = _padded(rows)
        log_p = model(ids, attention_mask=mask).logits[:, :-1].log_softmax(-1)  # (rows, tokens - 1, vocabulary)
        log_q = base(ids, attention_mask=mask).logits[:, :-1].log_softmax(-1)
        per_token = (log_p.exp() * (log_p - log_q)).sum(-1)  # (rows, tokens - 1)
        position = torch.arange(1, ids.shape[1])
        starts = torch.tensor([len(prompt) for prompt in prompts])[:, None]
        completion = (position >= starts) & mask[:, 1:].bool()
        divergence.append((per_token * completion).sum(1).double().numpy())
        tokens.append(completion.sum(1).double().numpy())
    total, count = np.concatenate(divergence), np.concatenate(tokens)
    ratio = total.sum() / count.sum()
    residual = total - ratio * count
    return PromptEstimate(float(ratio), float(residual.std(ddof=1) * np.sqrt(len(residual)) / count.sum()))


@torch.inference_mode()
def next_word_accuracy(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, rows: list[dict]
) -> dict[str, float]:
    """Return the share of rows whose answer is the likeliest next word, by ``{kind}_{split}``; answers are whole words.

    A question is asked up to its ``A:``.
    """
    model.eval()
    prompts = [row["prompt"] + ("A:" if row["prompt"].endswith("\n") else "") for row in rows]
    texts = named_texts(tokenizer, prompts)
    require_fit(model, texts)
    ids, mask = _padded(texts.ids)
    last = mask.sum(1) - 1
    likeliest = model(ids, attention_mask=mask).logits[torch.arange(len(rows)), last].argmax(-1).tolist()
    words = [tokenizer.decode([token]).strip() for token in likeliest]
    table = pd.DataFrame(
        {
            "kind": [f"{row['kind']}_{row['split']}" for row in rows],
            "right": [word == row["answer"] for word, row in zip(words, rows, strict=True)],
        }
    )
    return {kind: float(share) for kind, share in table.groupby("kind")["right"].mean().items()}


def _padded(rows: list[np.ndarray]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return token ids (n, longest), padded on the right, and the mask (n, longest) of real tokens."""
    ids, last = right_padded(rows)
    return ids, (torch.arange(ids.shape[1]) <= last[:, None]).long()


@torch.no_grad()
def displacement(model: nn.Module, base: nn.Module) -> float:
    """Return ||W - W_base|| / ||W_base|| over all parameters, with Frobenius norms."""
    moved = scale = 0.0
    reference = dict(base.named_parameters())
    for name, weight in model.named_parameters():
        moved += (weight.double() - reference[name].double()).square().sum().item()
        scale += reference[name].double().square().sum().item()
    return float(np.sqrt(moved / scale))
