"""How likely a model finds given answers: one batched pass, teacher-forced."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from transformers import PreTrainedModel

from stages.activations.passes import run_batches
from stages.activations.tokens import Tokens, batches, right_padded
from stages.trace.answers import Answer


class Likelihood(NamedTuple):
    """How likely a model finds one answer."""

    log_likelihood: float
    """Σ ln p(token | prompt and the answer's earlier tokens), nats."""
    tokens: int
    greedy: bool
    """Whether every token of it is the likeliest one at its position."""


@torch.inference_mode()
def answer_likelihoods(model: PreTrainedModel, answers: Sequence[Answer], tokens_per_batch: int) -> list[Likelihood]:
    """Return the likelihood of each answer, in their order.

    The distribution after token t scores token t + 1. Batches are of similar length, so that the logits of one,
    (rows, tokens, vocabulary), stay within the token budget. Raises CollectionError as `run_batches` does.
    """
    texts = Tokens(tuple(answer.id for answer in answers), [np.array(answer.ids) for answer in answers], [])
    likelihoods: dict[int, Likelihood] = {}

    def score(rows: np.ndarray) -> list[Likelihood]:
        return _batch_likelihoods(model, [answers[row] for row in rows])

    def collect(rows: np.ndarray, scored: list[Likelihood]) -> None:
        likelihoods.update(zip(rows.tolist(), scored, strict=True))

    run_batches(model, texts, batches(texts.lengths, tokens_per_batch), tokens_per_batch, score, collect)
    return [likelihoods[row] for row in range(len(answers))]


def _batch_likelihoods(model: PreTrainedModel, answers: Sequence[Answer]) -> list[Likelihood]:
    ids, _ = right_padded([answer.ids for answer in answers])  # (batch, longest)
    is_answer = torch.zeros_like(ids, dtype=torch.bool)
    for batch_row, answer in enumerate(answers):
        is_answer[batch_row, answer.start : len(answer.ids)] = True
    ids, is_answer = ids.to(model.device), is_answer[:, 1:].to(model.device)
    logits = model(input_ids=ids, use_cache=False).logits[:, :-1][is_answer].float()  # (answer tokens, vocabulary)
    targets = ids[:, 1:][is_answer]  # (answer tokens,)
    scores = logits.log_softmax(-1).gather(-1, targets[:, None])[:, 0].double().cpu().numpy()
    is_likeliest = (logits.argmax(-1) == targets).cpu().numpy()
    ends = np.cumsum(is_answer.sum(1).cpu().numpy())[:-1]
    return [
        Likelihood(float(part.sum()), len(part), bool(hit.all()))
        for part, hit in zip(np.split(scores, ends), np.split(is_likeliest, ends), strict=True)
    ]
