"""Prompts, a model whose memory runs out, and a naive oracle of what a model does with them: one prompt at a time, no padding, no batches."""

import numpy as np
import torch

from stages.activations.positions import gather_positions, hook_names
from stages.activations.tokens import batches, tokenise
from stages.models.capture import base_model, blocks_of, capture
from stages.models.sites import family_of
from tests.support.tiny_models import VOCABULARY, tiny_tokenizer

RNG = np.random.default_rng(0)
PROMPTS = [" ".join(f"w{i}" for i in RNG.integers(3, VOCABULARY, size=n)) for n in (4, 19, 1, 7, 7, 30, 2, 12)]
TOKENS = tokenise(tiny_tokenizer(), PROMPTS, [f"p{i}" for i in range(len(PROMPTS))])


def collect(model, tokens, sites, aggregations, budget, planned=None):
    """Return (aggregation, hook) -> rows of every prompt, in prompt order: (d_model,), or (length, d_model) for all_tokens."""
    found = {}

    def put(rows, reduced):
        for aggregation, values in reduced.items():
            counts = tokens.prompt_lengths[rows] if aggregation == "all_tokens" else np.ones(len(rows), int)
            for hook, array in zip(hook_names(sites, 3), values.float().numpy(), strict=True):
                parts = np.split(array, np.cumsum(counts)[:-1])
                found.setdefault((aggregation, hook), {}).update(zip(rows.tolist(), parts, strict=True))

    gather_positions(model, tokens, planned or batches(tokens.lengths, budget), sites, aggregations, budget, put)
    return {key: [rows[i] for i in range(len(tokens.ids))] for key, rows in found.items()}


def naive(model, ids, site_names):
    """Return the residual stream (length, d_model) per hook, of one prompt alone."""
    with torch.inference_mode(), capture(model, site_names) as seen:
        base_model(model)(input_ids=torch.tensor(ids)[None], use_cache=False)
    return {hook: hidden[0].numpy() for hook, hidden in seen.items()}


def assert_close(found, expected, rtol=1e-4):
    np.testing.assert_allclose(found, expected, rtol=rtol, atol=0.1 * rtol * np.abs(expected).max())


def limited_memory(monkeypatch, model, allows, error):
    """Make the model raise ``error`` instead of a pass that ``allows`` (of its ids) refuses; the shapes that passed."""
    body, forward, passed = base_model(model), base_model(model).forward, []

    def run(input_ids, **options):
        if not allows(input_ids):
            raise error
        passed.append(tuple(input_ids.shape))
        return forward(input_ids=input_ids, **options)

    monkeypatch.setattr(body, "forward", run)
    return passed


def run_out_once(monkeypatch, model, layer=-1):
    """Memory runs out in one block of the first pass and never again; the shapes of the passes that came through it."""
    block, passes = blocks_of(model, family_of(model.config))[layer], []
    first, forward = [True], block.forward

    def run(hidden_states, *arguments, **options):
        if first.pop() if first else False:
            raise torch.OutOfMemoryError("CUDA out of memory")
        passes.append(tuple(hidden_states.shape))
        return forward(hidden_states, *arguments, **options)

    monkeypatch.setattr(block, "forward", run)
    return passes
