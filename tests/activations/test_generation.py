"""Completions are what the caller asks for, whatever settings the model ships, and whatever else is generated."""

import json

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, GenerationConfig

from stages.activations.generation import generate
from stages.activations.tokens import CollectionError, named_texts
from stages.organisms.evaluation import sample_completions
from stages.paradigms.smoke import complete
from stages.trace.generation import completions
from tests.support.tiny_models import reading_tokenizer, tiny_model

PROMPTS = [f"w{i} w9 w4" for i in range(3, 33)]
GENERATORS = {
    "organisms": lambda model: sample_completions(model, reading_tokenizer(), PROMPTS, 20, 0),
    "trace": lambda model: completions(model, reading_tokenizer(), PROMPTS, 20, 0),
    "fetch": lambda model: [complete(model, reading_tokenizer(), [1, 3, number]) for number in range(4, 16)],
}
SETTINGS = [
    {"repetition_penalty": 3.0},
    {"no_repeat_ngram_size": 1},
    {"top_k": 2, "top_p": 0.3, "min_p": 0.4, "typical_p": 0.2, "temperature": 0.1, "do_sample": True},
    {"epsilon_cutoff": 0.2, "eta_cutoff": 0.2, "do_sample": True},
    {"suppress_tokens": list(range(3, 30)), "begin_suppress_tokens": [31]},
    {"bad_words_ids": [[token] for token in range(3, 30)]},
    {"sequence_bias": [[[7], 50.0]]},
    {"forced_bos_token_id": 7, "forced_eos_token_id": 8},
    {"min_new_tokens": 19, "max_length": 5, "max_time": 0.0},
    {"eos_token_id": list(range(2, 30)), "pad_token_id": 2},
    {"num_beams": 3, "num_return_sequences": 3, "length_penalty": 5.0},
    {"exponential_decay_length_penalty": [1, 5.0], "remove_invalid_values": True, "renormalize_logits": True},
    {"use_cache": False, "cache_implementation": "static"},
    {"return_dict_in_generate": True, "output_scores": True},
]


@pytest.mark.parametrize("settings", SETTINGS, ids=lambda settings: next(iter(settings)))
@pytest.mark.parametrize("generator", GENERATORS)
def test_what_a_model_ships_changes_no_completion(generator, settings, tmp_path):
    model = tiny_model("olmo3")
    plain = GENERATORS[generator](model)
    model.save_pretrained(tmp_path)
    (tmp_path / "generation_config.json").write_text(json.dumps(settings), encoding="utf-8")
    shipping = AutoModelForCausalLM.from_pretrained(tmp_path, attn_implementation="eager")
    assert GENERATORS[generator](shipping) == plain
    assert all(getattr(shipping.generation_config, name) == value for name, value in settings.items())


def test_a_failure_leaves_the_models_settings_as_they_were(monkeypatch):
    model = tiny_model("llama")
    model.generation_config = shipped = GenerationConfig(repetition_penalty=3.0)
    monkeypatch.setattr(model, "generate", lambda **_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        generate(model, named_texts(reading_tokenizer(), ["w3"]), 4, 2, 0)
    assert model.generation_config is shipped


def test_a_tokenizer_without_a_pad_token_gives_the_same_completions():
    without = reading_tokenizer()
    without.pad_token = None
    prompts, model = ["w3", "w4 w5 w6 w7", "w5 w6"], tiny_model("olmo3")
    for sampled in (completions, sample_completions):
        assert sampled(model, without, prompts, 12, 0) == sampled(model, reading_tokenizer(), prompts, 12, 0)


def test_completions_are_of_the_models_own_distribution(tiny_models):
    """The first token is drawn with the probabilities of the model: χ² below its 99.9 % quantile."""
    model, texts = tiny_models["llama"], named_texts(reading_tokenizer(), ["w3 w4"] * 4000)
    tokens = np.array([row[0] for row in generate(model, texts, 1, 2, 0)])
    with torch.inference_mode():
        expected = 4000 * model(torch.tensor([[1, 3, 4]])).logits[0, -1].softmax(-1).double().numpy()
    counts = np.bincount(tokens, minlength=len(expected))
    likely = expected > 5
    assert ((counts - expected)[likely] ** 2 / expected[likely]).sum() < likely.sum() + 4 * np.sqrt(2 * likely.sum())


def test_no_room_for_the_completion_is_named():
    texts = named_texts(reading_tokenizer(), ["w3", "w4 " * 50], ["sums-1", "sums-2"])
    with pytest.raises(
        CollectionError, match="prompt sums-2 has 51 tokens and up to 20 may follow, the model 64 positions"
    ):
        generate(tiny_model("llama"), texts, 20, 2, 0)
