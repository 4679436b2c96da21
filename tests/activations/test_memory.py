"""When memory runs out a batch is taken in halves, by whatever passes texts through a model, and the results are the same."""

import numpy as np
import pytest
import torch

from stages.activations.moments import gather_moments, moment_keys
from stages.activations.sequences import Sequences
from stages.activations.token_stream import content_states, end_states
from stages.activations.tokens import CollectionError
from stages.concepts.splicing import cross_entropy
from stages.trace.answers import Answer
from stages.trace.likelihood import answer_likelihoods
from tests.support.forward_oracle import limited_memory
from tests.support.tiny_models import POSITIONS

ROWS = [np.random.default_rng(i).integers(3, 40, 5 + i % 8) for i in range(12)]
ANSWERS = [Answer(f"a{i}", row.tolist(), 2) for i, row in enumerate(ROWS)]
SEQUENCES = Sequences(np.random.default_rng(0).integers(3, 40, (8, 10)), np.ones((8, 10), bool))

PASSES = {
    "likelihood of answers": lambda model: [
        [answer.log_likelihood for answer in answer_likelihoods(model, ANSWERS, 10**6)]
    ],
    "loss": lambda model: [cross_entropy(model, 1, ROWS, [0, 1, 2], 10**6)],
    "loss of replaced states": lambda model: [cross_entropy(model, 1, ROWS, [0, 1, 2], 10**6, torch.zeros_like)],
    "content": lambda model: [content_states(model, 1, ROWS, [0, 1, 2], 10**6)],
    "ends": lambda model: [end_states(model, None, ROWS, 10**6)],
    "moments": lambda model: [
        sums.gram for sums in gather_moments(model, SEQUENCES, 2, 10**6, moment_keys(3)[:1]).values()
    ],
}
ERRORS = {
    "gpu": torch.OutOfMemoryError("CUDA out of memory"),
    "python": MemoryError(),
    "cpu": RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: you tried"),
}


@pytest.mark.parametrize("error", ERRORS.values(), ids=ERRORS)
@pytest.mark.parametrize("passes", PASSES.values(), ids=PASSES)
def test_less_memory_gives_the_same(passes, error, tiny_models, monkeypatch):
    model = tiny_models["llama"]
    expected = passes(model)
    passed = limited_memory(monkeypatch, model, lambda ids: ids.numel() <= 30, error)
    for value, whole in zip(passes(model), expected, strict=True):
        np.testing.assert_allclose(np.asarray(value), np.asarray(whole), rtol=1e-4, atol=1e-4)
    assert len(passed) > 1


@pytest.mark.parametrize("passes", PASSES.values(), ids=PASSES)
def test_one_text_too_many_and_other_errors_are_named(passes, tiny_models, monkeypatch):
    model = tiny_models["llama"]
    with monkeypatch.context() as patch:
        limited_memory(patch, model, lambda ids: False, MemoryError())
        with pytest.raises(CollectionError, match="alone does not fit into memory"):
            passes(model)
    limited_memory(monkeypatch, model, lambda ids: False, RuntimeError("mat1 and mat2 shapes"))
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        passes(model)


def test_texts_longer_than_the_models_positions_are_named(tiny_models):
    """Rotary positions would go on without a word."""
    ids = np.full(POSITIONS + 1, 5)
    for call in (
        lambda model: answer_likelihoods(model, [*ANSWERS, Answer("long", ids.tolist(), 2)], 100),
        lambda model: cross_entropy(model, 1, [*ROWS, ids], [0, 1, 2], 100),
    ):
        with pytest.raises(CollectionError, match=f"has {POSITIONS + 1} tokens, the model {POSITIONS} positions"):
            call(tiny_models["llama"])
