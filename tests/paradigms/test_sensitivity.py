"""Derivatives against full Jacobians: random models of every family, and linear ones whose Jacobian is written down."""

from copy import deepcopy

import numpy as np
import pytest
import torch

from stages.models.capture import base_model, capture
from stages.models.checkpoint import Checkpoint
from stages.models.loading import load_model
from stages.models.sites import SITES, CaptureError, family_of, sites_of
from stages.paradigms import sensitivity as sv
from tests.support.tiny_models import WIDTH, save_wide_model, tiny_model

IDS = [3, 7, 9, 11, 4]
POST = tuple(f"blocks.{layer}.hook_resid_post" for layer in range(3))
CPU = torch.device("cpu")


def jacobian(model, hooks, tokens="last"):
    """One (values, tokens · d) for each of ``hooks``, in float64: reverse mode, a row at a time."""
    embeddings = model.get_input_embeddings()(torch.tensor(IDS)).detach().requires_grad_()  # (tokens, d)
    with capture(model, sites_of(family_of(model.config)), keep=lambda hidden: hidden) as seen:
        base_model(model)(inputs_embeds=embeddings[None], use_cache=False)
    read = [seen[hook][0, -1] if tokens == "last" else seen[hook][0].flatten() for hook in hooks]
    return [
        torch.stack([torch.autograd.grad(value, embeddings, retain_graph=True)[0].flatten() for value in values])
        .double()
        .numpy()
        for values in read
    ]


def noise_scale(model):
    embeddings = model.get_input_embeddings()(torch.tensor(IDS)).detach().double()
    return embeddings.square().mean().sqrt().item()


@pytest.mark.parametrize("family", SITES)
def test_forward_mode_equals_the_full_jacobian_at_every_site(family, tiny_models):
    model = tiny_models[family]
    embeddings = sv.embed(model, IDS)
    directions = torch.randn(2, *embeddings.shape, generator=torch.Generator().manual_seed(1))
    found = sv.push_forward(model, embeddings, directions, sites_of(family))
    assert len(found) == 3 * len(sites_of(family))
    for moved, j in zip(found.values(), jacobian(model, found), strict=True):
        expected = directions.flatten(1).double().numpy() @ j.T  # (2, d)
        assert np.linalg.norm(moved.numpy() - expected) < 1e-5 * np.linalg.norm(expected)


@pytest.mark.parametrize("family", SITES)
def test_norm_and_top_singular_value_equal_those_of_the_full_jacobian(family, tiny_models):
    model = tiny_models[family]
    jacobians = jacobian(model, POST)
    norm = sv.frobenius_norm(model, IDS, draws=100, batch=100)
    assert norm.hooks == POST
    expected = np.array([np.linalg.norm(j) for j in jacobians])
    assert (abs(norm.value - expected) < 4 * norm.error).all()
    assert (norm.error < 0.15 * expected).all()
    top = sv.top_singular_value(model, IDS, tolerance=0.01)
    np.testing.assert_allclose(top.value, [np.linalg.norm(j, 2) for j in jacobians], rtol=0.005)
    assert top.converged.all()
    assert (top.value < norm.value + 4 * norm.error).all()


def test_noise_response_is_the_scaled_norm_and_its_error_the_closed_form(tiny_models):
    model = tiny_models["olmo3"]
    found = sv.noise_response(model, IDS, draws=400, batch=100)
    for i, j in enumerate(jacobian(model, POST)):
        j = noise_scale(model) * j
        variance = 2 * np.linalg.norm(j.T @ j) ** 2
        assert found.mean[i] == pytest.approx((j**2).sum(), abs=4 * np.sqrt(variance / 400))
        assert found.error[i] == pytest.approx(np.sqrt(variance / 400), rel=0.3)
        assert found.draws[:, i].mean() == pytest.approx(found.mean[i])


def test_the_standard_error_of_the_norm_is_that_of_random_signs(tiny_models):
    """Var |J z|² = 2 (|A|² - sum A_ii²), A = J'J."""
    (j,) = jacobian(tiny_models["llama"], POST[-1:])
    a = j.T @ j
    expected = np.sqrt(2 * ((a**2).sum() - (np.diag(a) ** 2).sum()) / 400)
    found = sv.frobenius_norm(tiny_models["llama"], IDS, draws=400, batch=200)
    assert found.squared_error[-1] == pytest.approx(expected, rel=0.3)
    assert found.error[-1] == pytest.approx(found.squared_error[-1] / (2 * found.value[-1]))


@pytest.mark.parametrize("tokens", ["last", "all"])
def test_expansion_is_the_growth_along_the_same_directions(tokens, tiny_models):
    model = tiny_models["gpt_neox"]
    found = sv.expansion_exponents(model, IDS, draws=3, seed=5, tokens=tokens)
    z = np.stack([np.random.default_rng([5, i]).standard_normal(len(IDS) * WIDTH) for i in range(3)])
    path = jacobian(model, ("blocks.0.hook_resid_pre", *POST), tokens)
    lengths = np.stack([np.linalg.norm(z @ j.T, axis=1) for j in path], axis=1)  # (draws, layers + 1)
    np.testing.assert_allclose(found.draws, np.diff(np.log(lengths), axis=1), atol=1e-5)
    np.testing.assert_allclose(found.mean, found.draws.mean(axis=0))
    np.testing.assert_allclose(found.spread, found.draws.std(axis=0, ddof=1))


@pytest.fixture(scope="module")
def linear():
    """A linear network and its Jacobians (tokens · d, tokens · d): uniform causal attention, no norms, linear MLPs.

    h <- h + C h M', then h <- h + h W', with C the causal averages over tokens.
    """
    model = tiny_model("llama").double()
    generator = np.random.default_rng(0)
    t = len(IDS)
    averages = np.tril(np.ones((t, t))) / np.arange(1, t + 1)[:, None]
    total, jacobians = np.eye(t * WIDTH), []
    for block in model.model.layers:
        value, out, mlp = (generator.standard_normal((WIDTH, WIDTH)) / WIDTH**0.5 for _ in range(3))
        block.input_layernorm = block.post_attention_layernorm = torch.nn.Identity()
        block.mlp = torch.nn.Linear(WIDTH, WIDTH, bias=False).double()
        with torch.no_grad():
            block.self_attn.q_proj.weight.zero_()  # every score is 0: attention is uniform
            block.self_attn.v_proj.weight.copy_(torch.tensor(value))
            block.self_attn.o_proj.weight.copy_(torch.tensor(out))
            block.mlp.weight.copy_(torch.tensor(mlp))
        total = total + np.kron(averages, out @ value) @ total
        total = total + np.kron(np.eye(t), mlp) @ total
        jacobians.append(total)
    return model, jacobians


def test_a_linear_network_has_its_jacobian(linear):
    model, jacobians = linear
    embeddings = sv.embed(model, IDS)
    basis = torch.eye(embeddings.numel()).reshape(-1, *embeddings.shape)
    for tokens, rows in (("last", slice(-WIDTH, None)), ("all", slice(None))):
        found = sv.push_forward(model, embeddings, basis, ["resid_post"], tokens)
        for hook, expected in zip(POST, jacobians, strict=True):
            np.testing.assert_allclose(found[hook].T, expected[rows], atol=1e-6)
        top = sv.top_singular_value(model, IDS, tokens=tokens)  # transformers takes the softmax in float32
        np.testing.assert_allclose(top.value, [np.linalg.norm(j[rows], 2) for j in jacobians], rtol=1e-5)


def test_a_network_that_adds_nothing_has_the_identity(linear):
    """Norm sqrt(d), every singular value 1, and no expansion: the null; random signs then have no variance."""
    model = deepcopy(linear[0])
    with torch.no_grad():
        for block in model.model.layers:
            block.self_attn.o_proj.weight.zero_()
            block.mlp.weight.zero_()
    norm = sv.frobenius_norm(model, IDS, draws=3)
    np.testing.assert_allclose(norm.value, WIDTH**0.5)
    np.testing.assert_allclose(norm.error, 0, atol=1e-12)
    top = sv.top_singular_value(model, IDS)
    np.testing.assert_allclose(top.value, 1)
    assert (top.iterations == 2).all()  # the first vector also holds the other tokens
    found = sv.expansion_exponents(model, IDS)
    np.testing.assert_allclose(found.mean, 0, atol=1e-12)
    np.testing.assert_allclose(found.stream, 0, atol=1e-12)


def test_a_planted_gain_is_found_in_its_layer_and_no_other(linear):
    model = deepcopy(linear[0])
    with torch.no_grad():
        for layer, block in enumerate(model.model.layers):
            block.self_attn.o_proj.weight.zero_()
            block.mlp.weight.copy_(torch.eye(WIDTH) * (layer == 1))  # h doubles in layer 1
    found = sv.expansion_exponents(model, IDS)
    np.testing.assert_allclose(found.mean, [0, np.log(2), 0], atol=1e-12)
    np.testing.assert_allclose(found.stream, [0, np.log(2), 0], atol=1e-12)
    response = sv.noise_response(model, IDS, draws=4)
    np.testing.assert_allclose(response.mean, response.mean[0] * np.array([1, 4, 4]))
    np.testing.assert_allclose(sv.top_singular_value(model, IDS).value, [1, 2, 2])


def test_the_head_and_the_scale_of_a_linear_network_do_not_matter(linear):
    """The null of a change that no site sees; and the relative response is free of the embeddings' scale."""
    model = deepcopy(linear[0])
    with torch.no_grad():
        model.lm_head.weight.mul_(3)
        model.get_input_embeddings().weight.mul_(10)
    before, after = (sv.noise_response(m, IDS, draws=4) for m in (linear[0], model))
    np.testing.assert_allclose(after.mean, 100 * before.mean)
    np.testing.assert_allclose(after.mean / after.stream, before.mean / before.stream)
    np.testing.assert_allclose(sv.frobenius_norm(model, IDS).value, sv.frobenius_norm(linear[0], IDS).value)


def test_directions_depend_on_the_seed_and_on_nothing_else(tiny_models):
    model = tiny_models["qwen3"]
    few, many = sv.noise_response(model, IDS, draws=3, batch=2), sv.noise_response(model, torch.tensor(IDS), draws=5)
    np.testing.assert_allclose(few.draws, many.draws[:3], rtol=1e-5)
    other = sv.noise_response(model, IDS, draws=3, seed=1)
    assert (abs(other.draws / few.draws - 1) > 1e-3).all()


def test_power_iteration_says_where_it_did_not_converge(tiny_models):
    model = tiny_models["mistral"]
    with pytest.raises(
        sv.SensitivityError, match=r"no convergence to 1e-05 in 2 iterations at blocks.0.hook_resid_post"
    ):
        sv.top_singular_value(model, IDS, tolerance=1e-5, iterations=2)
    found = sv.top_singular_value(model, IDS, tolerance=1e-5, iterations=2, strict=False)
    assert not found.converged.any()
    assert (found.value <= [np.linalg.norm(j, 2) for j in jacobian(model, POST)]).all()
    assert (found.residual > 1e-5).all()


def test_a_loaded_checkpoint_works_in_eager_float32_and_in_nothing_else(tiny_folders):
    checkpoint = Checkpoint("tiny", tiny_folders["olmo3"], "base", "local", "", "olmo3")
    model = load_model(checkpoint, "float32", "eager", CPU)
    assert np.isfinite(sv.noise_response(model, IDS, draws=2).mean).all()
    assert sv.top_singular_value(model, IDS, batch=2).converged.all()
    with pytest.raises(sv.SensitivityError, match=r"olmo3 uses sdpa attention.*load_model\(.*attention=\"eager\"\)"):
        sv.noise_response(load_model(checkpoint, "float32", target=CPU), IDS)
    with pytest.raises(
        sv.SensitivityError, match=r"olmo3 computes in torch.bfloat16: derivatives need float32; load it"
    ):
        sv.frobenius_norm(load_model(checkpoint, "bfloat16", "eager", CPU), IDS)


@pytest.mark.parametrize("precision", ["int8", "nf4"])
def test_quantised_models_are_refused(precision, tmp_path):
    pytest.importorskip("bitsandbytes")
    save_wide_model("llama", tmp_path)
    model = load_model(Checkpoint("wide", tmp_path, "base", "local", "", "llama"), precision, "eager", CPU)
    with pytest.raises(sv.SensitivityError, match=r"llama is quantised \(weights in torch.u?int8\).*\"float32\""):
        sv.top_singular_value(model, IDS)


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ([[3, 7], [4, 5]], r"shape \(2, 2\).*expected one prompt"),
        ([], "expected one prompt"),
        ([3.0, 4.0], "expected one prompt, .* integers"),
        ([3, 40], r"3..40: the vocabulary is 0..39; take the tokenizer of this model"),
    ],
)
def test_ids_that_are_no_prompt_are_refused(ids, message, tiny_models):
    with pytest.raises(sv.SensitivityError, match=message):
        sv.noise_response(tiny_models["llama"], ids)


def test_other_impossible_requests_name_the_fix(tiny_models):
    with pytest.raises(sv.SensitivityError, match="draws = 1: expected at least 2"):
        sv.expansion_exponents(tiny_models["llama"], IDS, draws=1)
    with pytest.raises(sv.SensitivityError, match="tokens = 'mean': expected last or all"):
        sv.frobenius_norm(tiny_models["llama"], IDS, tokens="mean")
    with pytest.raises(sv.SensitivityError, match="batch = 0"):
        sv.frobenius_norm(tiny_models["llama"], IDS, batch=0)
    with pytest.raises(sv.SensitivityError, match="must be positive"):
        sv.top_singular_value(tiny_models["llama"], IDS, tolerance=0)
    with pytest.raises(CaptureError, match="'resid_mid' does not exist in gpt_neox"):
        sv.top_singular_value(tiny_models["gpt_neox"], IDS, sites=["resid_mid"])
    with pytest.raises(sv.SensitivityError, match="training mode"):
        sv.noise_response(deepcopy(tiny_models["gpt2"]).train(), IDS)


def test_a_perturbation_that_dies_out_and_one_that_overflows_are_errors(linear):
    model = deepcopy(linear[0])
    with torch.no_grad():
        model.model.layers[1].self_attn.o_proj.weight.zero_()
        model.model.layers[1].mlp.weight.copy_(-torch.eye(WIDTH))
    with pytest.raises(sv.SensitivityError, match="the perturbation is zero at blocks.1.hook_resid_post"):
        sv.expansion_exponents(model, IDS)
    found = sv.top_singular_value(model, IDS)
    assert found.value[1] == found.residual[1] == 0
    with torch.no_grad():
        model.model.layers[1].mlp.weight.fill_(np.inf)
    with pytest.raises(sv.SensitivityError, match="derivatives at blocks.1.hook_resid_post are not finite"):
        sv.noise_response(model, IDS)
