"""How likely a model finds given answers: one batched pass, teacher-forced."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from transformers import PreTrainedModel

from stages.activations.tokens import batches
from stages.trace.answers import Answer

PAD = 0  # any id: causal attention keeps padding on the right out of every real token


class Likelihood(NamedTuple):
    """Of one answer."""

    log_likelihood: float
    """Σ ln p(token | prompt and the answer's earlier tokens), nats"""
    tokens: int
    greedy: bool
    """Every token of it is the likeliest one at its place."""


@torch.inference_mode()
def answer_likelihoods(model: PreTrainedModel, answers: Sequence[Answer], tokens_per_batch: int) -> list[Likelihood]:
    """The likelihood of each answer, in their order.

    The distribution after token t scores token t + 1. Batches are of similar length, so that the logits of one,
    (rows, tokens, vocabulary), stay within the token budget.
    """
    lengths = np.array([len(answer.ids) for answer in answers])
    found: dict[int, Likelihood] = {}
    for rows in batches(lengths, tokens_per_batch):
        ids = torch.full((len(rows), int(lengths[rows].max())), PAD)
        wanted = torch.zeros_like(ids, dtype=torch.bool)
        for place, row in enumerate(rows):
            ids[place, : lengths[row]] = torch.tensor(answers[row].ids)
            wanted[place, answers[row].start : lengths[row]] = True
        ids, wanted = ids.to(model.device), wanted[:, 1:].to(model.device)
        logits = model(input_ids=ids, use_cache=False).logits[:, :-1][wanted].float()  # (answer tokens, vocabulary)
        targets = ids[:, 1:][wanted]  # (answer tokens,)
        scores = logits.log_softmax(-1).gather(-1, targets[:, None])[:, 0].double().cpu().numpy()
        right = (logits.argmax(-1) == targets).cpu().numpy()
        ends = np.cumsum(wanted.sum(1).cpu().numpy())
        for row, part, hit in zip(rows, np.split(scores, ends[:-1]), np.split(right, ends[:-1]), strict=True):
            found[int(row)] = Likelihood(float(part.sum()), len(part), bool(hit.all()))
    return [found[row] for row in range(len(answers))]
