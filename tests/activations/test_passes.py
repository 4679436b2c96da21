"""The one pass: halved batches when memory runs out, blocks that do not run, and texts that do not fit the model."""

from copy import deepcopy

import numpy as np
import pytest
import torch

from stages.activations.passes import FINAL_NORM, require_fit, run_passes
from stages.activations.tokens import CollectionError, Tokens, batches, tokenise
from stages.models import sites
from stages.models.capture import StreamPoint, blocks_of
from stages.models.sites import SITES
from tests.support.forward_oracle import TOKENS, assert_close, collect, limited_memory, naive, run_out_once
from tests.support.tiny_models import POSITIONS, VOCABULARY, tiny_tokenizer


class Ends:
    """A reducer to the last token of each text at each point."""

    def __init__(self, tokens, *points):
        self.tokens, self.points, self.values = tokens, [StreamPoint(*point) for point in points], {}

    def start(self, rows, length):
        self.last = torch.from_numpy(self.tokens.lengths[rows] - 1)

    def reduce(self, hidden):
        return hidden[torch.arange(len(hidden)), self.last]

    def collect(self, rows, reduced):
        self.values |= dict(zip(rows.tolist(), torch.stack(reduced, dim=1).numpy(), strict=True))


def ends(model, budget, *points, tokens=TOKENS):
    """Values (points, d) by text, and the budget that sufficed."""
    reducer = Ends(tokens, *points)
    return reducer.values, run_passes(model, tokens, batches(tokens.lengths, budget), reducer, budget)


def test_a_reducer_gets_each_point_of_each_text(tiny_models):
    values, budget = ends(tiny_models["olmo3"], 50, ("resid_post", 2), (FINAL_NORM, 2), ("resid_mid", 0))
    assert budget == 50 and sorted(values) == list(range(len(TOKENS.ids)))
    norm = tiny_models["olmo3"].model.norm
    for row, ids in enumerate(TOKENS.ids):
        alone = naive(tiny_models["olmo3"], ids, ["resid_mid", "resid_post"])
        assert_close(values[row][0], alone["blocks.2.hook_resid_post"][-1])
        assert_close(values[row][1], norm(torch.from_numpy(values[row][0])).detach().numpy())
        assert_close(values[row][2], alone["blocks.0.hook_resid_mid"][-1])


@pytest.mark.parametrize("family", ["gpt2", "gpt_neox", "olmo3", "gemma2", "llama"])
@pytest.mark.parametrize(
    ("points", "last"),
    [
        ([("resid_post", 0)], 0),
        ([("resid_post", 1), ("resid_pre", 0)], 1),
        ([("resid_post", 2)], 2),
        ([("resid_post", 0), (FINAL_NORM, 2)], 2),
        ([(FINAL_NORM, 2)], 2),
    ],
)
def test_blocks_after_the_last_point_do_not_run(family, points, last, tiny_models):
    model, ran = tiny_models[family], []
    blocks = blocks_of(model, family)
    handles = [block.register_forward_pre_hook(lambda *_, i=i: ran.append(i)) for i, block in enumerate(blocks)]
    values, _ = ends(model, 10_000, *points)
    for handle in handles:
        handle.remove()
    assert ran == list(range(last + 1)) and len(values) == len(TOKENS.ids)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        MemoryError(),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes"),
    ],
)
def test_out_of_memory_halves_the_budget_and_goes_on(error, monkeypatch, tiny_models, caplog):
    expected, _ = ends(tiny_models["olmo3"], 200, ("resid_post", 2))
    passed = limited_memory(monkeypatch, tiny_models["olmo3"], lambda ids: ids.numel() <= 70, error)
    values, budget = ends(tiny_models["olmo3"], 200, ("resid_post", 2))
    for row, whole in expected.items():
        assert_close(values[row], whole)
    assert sum(rows for rows, _ in passed) == len(TOKENS.ids)
    assert "out of memory with 6 texts of 31 tokens: budget halved to 93 tokens" in caplog.text
    assert caplog.text.count("budget halved") == 2  # 200 to 93 to 46, and no further attempt at the old budget
    assert budget == 46


@pytest.mark.parametrize("points", [[("resid_post", 0), ("resid_post", 2)], [("resid_post", 0), (FINAL_NORM, 2)]])
def test_memory_that_runs_out_in_a_reduction_halves_the_batch_too(points, tiny_models):
    """At the last point, when the first is already reduced: nothing of the failed attempt is kept."""

    class OnceTooLarge(Ends):
        calls = 0

        def reduce(self, hidden):
            self.calls += 1
            if self.calls == 2:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return super().reduce(hidden)

    reducer = OnceTooLarge(TOKENS, *points)
    assert run_passes(tiny_models["olmo3"], TOKENS, batches(TOKENS.lengths, 200), reducer, 200) == 93
    expected, _ = ends(tiny_models["olmo3"], 200, *points)
    assert sorted(reducer.values) == sorted(expected)
    for row, whole in expected.items():
        assert_close(reducer.values[row], whole)


def test_later_batches_keep_the_halved_budget(tiny_models, monkeypatch):
    passed = run_out_once(monkeypatch, tiny_models["olmo3"])
    _, budget = ends(tiny_models["olmo3"], 100, ("resid_post", 2))
    assert budget == 46 and max(rows * length for rows, length, _ in passed) <= 46


def test_a_single_text_that_does_not_fit_is_an_error(monkeypatch, tiny_models):
    limited_memory(monkeypatch, tiny_models["olmo3"], lambda ids: ids.numel() <= 20, MemoryError())
    with pytest.raises(CollectionError, match=r"prompt p5 \(31 tokens\) alone does not fit into memory.*DEVICE=auto"):
        ends(tiny_models["olmo3"], 64, ("resid_post", 2))


def test_another_error_of_the_model_is_raised_as_it_is(monkeypatch, tiny_models):
    error = RuntimeError("mat1 and mat2 shapes cannot be multiplied")
    limited_memory(monkeypatch, tiny_models["olmo3"], lambda ids: False, error)
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        ends(tiny_models["olmo3"], 64, ("resid_post", 2))


def test_a_hook_that_does_not_run_is_an_error(tiny_models, monkeypatch):
    monkeypatch.setitem(sites.SITES, "llama", SITES["llama"]._replace(mid="self_attn.unused"))
    model = deepcopy(tiny_models["llama"])
    for block in model.model.layers:
        block.self_attn.unused = torch.nn.Identity()
    with pytest.raises(CollectionError, match="blocks.1.hook_resid_mid gave nothing"):
        ends(model, 64, ("resid_post", 2), ("resid_mid", 1))


def test_a_prompt_longer_than_the_model_is_an_error_not_a_cut(tiny_models):
    tokens = tokenise(tiny_tokenizer(), ["w3", "w5 " * POSITIONS], ["short", "long"])
    message = f"prompt long has {POSITIONS + 1} tokens, the model {POSITIONS} positions.*never truncated"
    with pytest.raises(CollectionError, match=message):
        require_fit(tiny_models["gpt2"], tokens)
    with pytest.raises(CollectionError, match=message):
        ends(tiny_models["gpt2"], 64, ("resid_post", 0), tokens=tokens)
    require_fit(tiny_models["gpt2"], tokens, [0])


def test_ids_beyond_the_vocabulary(tiny_models):
    tokens = Tokens(("a",), [np.array([3, VOCABULARY])], [np.array([False, True])])
    with pytest.raises(
        CollectionError, match="prompt a has token id 40, the model's vocabulary ends at 39.*share a tokenizer"
    ):
        require_fit(tiny_models["llama"], tokens)


def test_the_head_is_not_computed(tiny_models):
    def refuse(*_):
        raise AssertionError("the language-model head ran")

    handle = tiny_models["llama"].lm_head.register_forward_hook(refuse)
    try:
        collect(tiny_models["llama"], TOKENS, ["resid_post"], ["last_token"], 64)
    finally:
        handle.remove()
