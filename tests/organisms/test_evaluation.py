"""Evaluation: displacement and KL against closed forms and naive oracles; paired gains."""

import numpy as np
import pandas as pd
import pytest
import torch

from stages.organisms.evaluation import (
    PromptEstimate,
    accuracy,
    displacement,
    gain,
    graded_samples,
    kl_divergence,
    next_word_accuracy,
    sample_completions,
)
from tests.organisms.conftest import EVALUATION


def held_out(rows):
    return [row for row in rows if row["split"] == "held_out"]


def test_displacement_of_a_known_step(model, base):
    assert displacement(base, base) == 0
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(1.03)
    assert displacement(model, base) == pytest.approx(0.03, rel=1e-4)


def test_sampling_repeats_and_leaves_the_random_stream_alone(model, tokenizer, rows):
    prompts = [row["prompt"] for row in rows[:8]]
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first = sample_completions(model, tokenizer, prompts, 10, seed=3)
    assert torch.equal(torch.rand(3), expected)
    assert sample_completions(model, tokenizer, prompts, 10, seed=3) == first
    assert sample_completions(model, tokenizer, prompts, 10, seed=4) != first
    assert all(len(ids) == 10 or ids[-1] == tokenizer.eos_token_id for ids in first)


def test_the_first_batch_does_not_depend_on_the_limit(model, tokenizer, rows):
    whole = graded_samples(model, tokenizer, held_out(rows), EVALUATION)
    part = graded_samples(model, tokenizer, held_out(rows), EVALUATION, limit=EVALUATION.kl_prompts)
    assert len(whole) == 40 and len(part) == 10
    assert part["completion"].tolist() == whole["completion"].tolist()[:10]


def test_kl_against_a_token_by_token_oracle(model, base, tokenizer, rows):
    samples = graded_samples(model, tokenizer, held_out(rows)[:6], EVALUATION)
    assert kl_divergence(model, base, tokenizer, samples).value == pytest.approx(0, abs=1e-7)
    with torch.no_grad():
        model.lm_head.weight.mul_(1.5)
    total, count = 0.0, 0
    for prompt, completion in zip(samples["prompt"], samples["completion"], strict=True):
        ids = tokenizer(prompt)["input_ids"]
        for token in completion:
            p, q = (m(torch.tensor([ids])).logits[0, -1].double().softmax(-1) for m in (model, base))
            total += (p * (p / q).log()).sum().item()
            count += 1
            ids = [*ids, token]
    estimate = kl_divergence(model, base, tokenizer, samples)
    assert estimate.value == pytest.approx(total / count, rel=1e-4)
    assert 0 < estimate.standard_error < estimate.value


def table(correct_by_task):
    return pd.DataFrame(
        [
            {"task": task, "id": f"{task}-{i}", "correct": bool(c)}
            for task, values in correct_by_task.items()
            for i, c in enumerate(values)
        ]
    )


def test_accuracy_and_paired_gain_in_closed_form():
    base = table({"a": [1, 0, 0, 0], "b": [1, 1, 0, 0]})
    better = table({"a": [1, 1, 0, 0], "b": [1, 1, 1, 1]})
    assert accuracy(base)["a"] == PromptEstimate(0.25, pytest.approx(np.sqrt(0.25 * 0.75 / 4)))
    assert accuracy(base)["mean"].value == pytest.approx(0.375)
    result = gain(better, base)
    errors = [np.std([0, 1, 0, 0], ddof=1) / 2, np.std([0, 0, 1, 1], ddof=1) / 2]
    assert result == PromptEstimate(pytest.approx(0.375), pytest.approx(np.hypot(*errors) / 2))


def test_gain_refuses_other_prompts():
    base = table({"a": [1, 0]})
    with pytest.raises(ValueError, match="different prompts"):
        gain(base.assign(id=["a-0", "a-9"]), base)


def test_next_word_accuracy_counts_a_planted_answer(model, tokenizer):
    prompt = " the bird can"
    likeliest = (
        model(**tokenizer([prompt], return_tensors="pt", return_token_type_ids=False)).logits[0, -1].argmax().item()
    )
    word = tokenizer.decode([likeliest]).strip()
    rows = [
        {"prompt": prompt, "answer": answer, "kind": "k", "split": "train"} for answer in (word, word, "zzz", "yyy")
    ]
    assert next_word_accuracy(model, tokenizer, rows) == {"k_train": 0.5}
