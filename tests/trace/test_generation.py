"""Sampled completions: repeatable, of the model's distribution, and None where they do not end."""

import copy

import torch

from stages.trace.generation import completions
from tests.support.tiny_models import tiny_model, tiny_tokenizer


def certain(token):
    """A model that always says ``token``."""
    model = copy.deepcopy(tiny_model("llama"))
    head = torch.zeros_like(model.lm_head.weight)
    model.model.norm.weight.data.fill_(0)
    model.lm_head = torch.nn.Linear(head.shape[1], head.shape[0])
    model.lm_head.weight.data.zero_()
    model.lm_head.bias.data.fill_(-50)
    model.lm_head.bias.data[token] = 50
    return model.eval()


def test_a_completion_without_an_end_is_none():
    assert completions(certain(7), tiny_tokenizer(), ["w3", "w4 w5 w6"], 4, 0) == [None, None]


def test_an_end_at_once_is_an_empty_completion():
    assert completions(certain(2), tiny_tokenizer(), ["w3", "w4 w5 w6"], 4, 0) == ["", ""]


def test_the_seed_decides_and_the_callers_stream_is_left_alone():
    model, tokenizer, prompts = tiny_model("olmo3"), tiny_tokenizer(), [f"w{i} w9" for i in range(3, 33)]
    torch.manual_seed(5)
    state = torch.get_rng_state()
    one = completions(model, tokenizer, prompts, 30, 0)
    assert torch.equal(state, torch.get_rng_state())
    assert one == completions(model, tokenizer, prompts, 30, 0) != completions(model, tokenizer, prompts, 30, 1)
    assert any(text for text in one) and None in one
