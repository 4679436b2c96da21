"""Likelihood of answers beside one answer and one token at a time."""

import numpy as np
import pytest
import torch

from stages.trace.answers import Answer
from stages.trace.likelihood import answer_likelihoods


def slow(model, answer):
    """Σ ln p of the answer's tokens, each after exactly what stands before it."""
    total, greedy = 0.0, True
    for place in range(answer.start, len(answer.ids)):
        with torch.inference_mode():
            logits = model(input_ids=torch.tensor([answer.ids[:place]]), use_cache=False).logits[0, -1]
        total += float(logits.double().log_softmax(-1)[answer.ids[place]])
        greedy &= int(logits.argmax()) == answer.ids[place]
    return total, greedy


@pytest.mark.parametrize("family", ["olmo3", "gpt2", "gpt_neox", "gemma2"])
@pytest.mark.parametrize("budget", [8, 1000])
def test_batches_give_what_one_at_a_time_gives(tiny_models, family, budget):
    generator, model = np.random.default_rng(0), tiny_models[family]
    answers = [
        Answer(str(i), generator.integers(3, 40, length).tolist(), start)
        for i, (length, start) in enumerate([(5, 4), (9, 3), (2, 1), (9, 8), (6, 1)])
    ]
    found = answer_likelihoods(model, answers, budget)
    for answer, one in zip(answers, found, strict=True):
        total, greedy = slow(model, answer)
        assert one.log_likelihood == pytest.approx(total, abs=1e-4)
        assert (one.tokens, one.greedy) == (len(answer.ids) - answer.start, greedy)


def test_the_likeliest_answer_is_greedy_and_another_is_not(tiny_models):
    model, prompt = tiny_models["llama"], [1, 7, 9]
    with torch.inference_mode():
        logits = model(input_ids=torch.tensor([prompt]), use_cache=False).logits[0, -1]
    best, worst = int(logits.argmax()), int(logits.argmin())
    found = answer_likelihoods(model, [Answer("a", [*prompt, best], 3), Answer("b", [*prompt, worst], 3)], 100)
    assert [one.greedy for one in found] == [True, False]
    assert found[0].log_likelihood > found[1].log_likelihood
