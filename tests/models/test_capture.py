"""Hooks: what they read, that they go away, and that the self-test accepts every row and rejects a wrong one."""

from copy import deepcopy

import pytest
import torch

from stages.models import sites
from stages.models.capture import base_model, capture, self_test
from stages.models.sites import SITES, CaptureError, locate, sites_of

IDS = torch.tensor([[3, 7, 9, 11, 4], [5, 5, 6, 30, 2]])  # (batch, tokens)


def count_hooks(model):
    """Ours: transformers leaves its own behind once hidden states were asked for."""
    hooks = [hook for m in model.modules() for hook in [*m._forward_hooks.values(), *m._forward_pre_hooks.values()]]
    return sum(getattr(hook, "__module__", "") == "stages.models.capture" for hook in hooks)


@pytest.mark.parametrize("family", SITES)
def test_the_self_test_accepts(family, tiny_models):
    self_test(tiny_models[family])
    assert count_hooks(tiny_models[family]) == 0


@pytest.mark.parametrize("family", ["llama", "olmo3", "gemma2", "gpt_neox"])
def test_the_self_test_accepts_bfloat16(family, tiny_models):
    self_test(deepcopy(tiny_models[family]).bfloat16())


@pytest.mark.parametrize(
    ("family", "row", "site"),
    [
        ("olmo2", "llama", "resid_mid"),
        ("olmo3", "llama", "resid_mid"),
        ("gemma2", "olmo3", "resid_mid"),  # the pre-norm of the sandwich hides the stream from the MLP
        ("gemma3_text", "llama", "resid_mid"),
        ("gpt_neox", "gpt_neox_sequential", "resid_mid"),
        ("llama", "mlp_for_mid", "resid_mid"),
    ],
)
def test_the_self_test_rejects_a_wrong_row(family, row, site, tiny_models, monkeypatch):
    wrong = SITES["llama"]._replace(mid="mlp") if row == "mlp_for_mid" else SITES[row]
    monkeypatch.setitem(sites.SITES, family, wrong)
    with pytest.raises(
        CaptureError, match=rf"self-test of the capture map failed: {family}, layer 0: {site} .*stages/models/sites.py"
    ):
        self_test(tiny_models[family])


def test_the_self_test_rejects_a_wrong_row_where_the_embeddings_are_small(tiny_models, monkeypatch):
    """With pre far below the attention output, mid read before the sum is nearly right: still rejected."""
    model = deepcopy(tiny_models["olmo3"])
    monkeypatch.setitem(
        sites.SITES, "olmo3", SITES["olmo3"]._replace(mid="post_attention_layernorm", attention="self_attn")
    )
    with torch.no_grad():
        model.get_input_embeddings().weight.mul_(0.01)
    with pytest.raises(CaptureError, match="layer 0: resid_mid"):
        self_test(model)


def test_the_self_test_names_a_module_that_does_not_exist(tiny_models, monkeypatch):
    monkeypatch.setitem(sites.SITES, "qwen2", SITES["gemma2"])
    with pytest.raises(
        CaptureError, match="qwen2: Qwen2DecoderLayer has no module 'post_feedforward_layernorm'; it has self_attn, mlp"
    ):
        self_test(tiny_models["qwen2"])
    assert count_hooks(tiny_models["qwen2"]) == 0


def test_the_self_test_names_a_hook_that_never_ran(tiny_models, monkeypatch):
    monkeypatch.setitem(sites.SITES, "llama", SITES["llama"]._replace(attention="self_attn.unused"))
    model = deepcopy(tiny_models["llama"])
    for block in model.model.layers:
        block.self_attn.unused = torch.nn.Identity()
    with pytest.raises(CaptureError, match="llama, layer 0: the hook of attention never ran"):
        self_test(model)


@pytest.mark.parametrize("family", SITES)
def test_sites_equal_the_hidden_states_of_transformers(family, tiny_models):
    """resid_pre is hidden_states[l]; the last hidden state is not resid_post: it comes after the final norm."""
    model = tiny_models[family]
    with torch.inference_mode(), capture(model, sites_of(family)) as seen:
        states = base_model(model)(input_ids=IDS, output_hidden_states=True, use_cache=False).hidden_states
    layers = len(states) - 1
    assert len(seen) == layers * len(sites_of(family))
    for layer in range(layers):
        torch.testing.assert_close(seen[f"blocks.{layer}.hook_resid_pre"], states[layer], rtol=0, atol=0)
        if layer + 1 < layers:
            torch.testing.assert_close(seen[f"blocks.{layer}.hook_resid_post"], states[layer + 1], rtol=0, atol=0)
    assert not torch.allclose(seen[f"blocks.{layers - 1}.hook_resid_post"], states[-1])


@pytest.mark.parametrize("family", [family for family in SITES if SITES[family].mid is not None])
def test_resid_mid_is_what_is_left_without_the_mlp(family, tiny_models):
    """An oracle that does not know the table's `mid`: silence what the MLP adds, and the block returns resid_mid."""
    model = tiny_models[family]
    with torch.inference_mode(), capture(model, ["resid_mid"]) as seen:
        base_model(model)(input_ids=IDS, use_cache=False)
    mid = seen["blocks.0.hook_resid_mid"]
    module = base_model(model).get_submodule(f"{SITES[family].blocks}.0.{locate(family, 'mlp')[0]}")
    silence = module.register_forward_hook(lambda _, __, output: torch.zeros_like(output))
    try:
        with torch.inference_mode(), capture(model, ["resid_post"]) as silenced:
            base_model(model)(input_ids=IDS, use_cache=False)
    finally:
        silence.remove()
    torch.testing.assert_close(silenced["blocks.0.hook_resid_post"], mid, rtol=0, atol=0)


def test_hooks_are_removed_also_after_an_error(tiny_models):
    model = tiny_models["llama"]
    with pytest.raises(RuntimeError, match="inside"), capture(model, ["resid_mid", "resid_post"]):
        assert count_hooks(model) == 6
        raise RuntimeError("inside")
    assert count_hooks(model) == 0


def test_a_reduction_runs_inside_the_pass(tiny_models):
    with (
        torch.inference_mode(),
        capture(tiny_models["gpt2"], ["resid_post"], keep=lambda hidden: hidden[:, -1]) as seen,
    ):
        base_model(tiny_models["gpt2"])(input_ids=IDS, use_cache=False)
    assert seen["blocks.2.hook_resid_post"].shape == (2, 16)


def test_resid_mid_of_a_parallel_model_raises_before_any_hook(tiny_models):
    with (
        pytest.raises(CaptureError, match="'resid_mid' does not exist in gpt_neox"),
        capture(tiny_models["gpt_neox"], ["resid_mid"]),
    ):
        pass
    assert count_hooks(tiny_models["gpt_neox"]) == 0
