"""The update-size nulls: what each keeps and loses, the model put back bit for bit, and pairs that are no siblings."""

import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from stages.geometry.weights import overlap, overlap_chance, update_rank
from stages.models.checkpoint import Checkpoint
from stages.models.loading import load_model
from stages.organisms.evaluation import displacement
from stages.paradigms.perturbation import (
    KINDS,
    PerturbationError,
    difference,
    perturb,
    perturbed,
    update,
)
from stages.paradigms.tables import RANDOM_KINDS
from tests.support.tiny_models import tiny_model

CPU = torch.device("cpu")
SHAPES = [(), (1,), (7,), (6, 6), (9, 6), (6, 9), (20, 4), (4, 20), (1, 5), (3, 8, 4)]


def options(kind):
    return {"t": 0.25} if kind == "interpolation" else {}


def tensor(*shape, seed=0):
    return torch.from_numpy(np.asarray(np.random.default_rng(seed).standard_normal(shape)))


def at(folder, name="mine", **changes):
    return Checkpoint(name, folder, "other", "local", "", "")._replace(**changes)


@torch.no_grad()
def moved_from(model, size=0.1):
    """A sibling: the model after a random step."""
    sibling = tiny_model(model.config.model_type)
    torch.manual_seed(1)
    for weight in sibling.parameters():
        weight.add_(size * torch.randn_like(weight))
    return sibling


def bits(model):
    return {name: weight.detach().clone().view(torch.int32) for name, weight in model.named_parameters()}


def assert_same(a, b):
    assert a.keys() == b.keys()
    assert all(torch.equal(a[name], b[name]) for name in a)


@pytest.fixture(params=["olmo3", "gpt2"])  # gpt2 ties its embeddings
def pair(request):
    model = tiny_model(request.param)
    return model, moved_from(model)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", KINDS)
def test_the_norm_of_a_tensor_is_the_siblings(kind, shape):
    delta = tensor(*shape)
    found = perturb("w", delta, kind, **options(kind))
    assert (found.shape, found.dtype) == (delta.shape, torch.float64)
    assert found.norm().item() == pytest.approx(
        (0.25 if kind == "interpolation" else 1) * delta.norm().item(), rel=1e-12
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", SHAPES)
def test_a_tensor_that_did_not_move_stays(kind, shape):
    assert not perturb("w", torch.zeros(shape), kind, **options(kind)).any()


@pytest.mark.parametrize("shape", [shape for shape in SHAPES if len(shape) >= 2])
def test_the_spectrum_preserving_null_keeps_singular_values_and_loses_directions(shape):
    delta = tensor(*shape)
    found = perturb("w", delta, "spectrum_preserving")
    np.testing.assert_allclose(torch.linalg.svdvals(found), torch.linalg.svdvals(delta), rtol=1e-10)
    assert abs((found * delta).sum() / delta.norm() ** 2) < 0.9


@pytest.mark.parametrize("shape", [(20, 4), (6, 4), (4, 4), (4, 20)])
def test_a_rank_deficient_update_keeps_its_rank(shape):
    delta = tensor(shape[0], 2) @ tensor(2, shape[1], seed=1)
    found = torch.linalg.svdvals(perturb("w", delta, "spectrum_preserving"))
    np.testing.assert_allclose(found, torch.linalg.svdvals(delta), atol=1e-12)


def test_what_each_null_keeps_as_the_measures_of_weights_see_it():
    base, ks = tensor(24, 12, seed=3).numpy(), (1, 4)
    left, _, right = np.linalg.svd(base)
    delta = torch.from_numpy(np.outer(left[:, 0], right[0]) + 0.5 * np.outer(left[:, 1], right[1]))
    rank = {kind: update_rank(perturb("w", delta, kind, **options(kind)).numpy()) for kind in KINDS}
    own = update_rank(delta.numpy())
    assert rank["isotropic"] > 4 * own
    for kind in ("spectrum_preserving", "negated", "interpolation"):
        assert rank[kind] == pytest.approx(own, rel=1e-4)
    np.testing.assert_allclose(overlap(perturb("w", delta, "negated").numpy(), base, ks).both, [0.8, 1])
    for kind in RANDOM_KINDS:
        draws = np.stack([perturb("w", delta, kind, draw) for draw in range(300)])
        found = overlap(draws, np.broadcast_to(base, draws.shape), ks)
        for share, chance in zip(found, overlap_chance(base.shape, ks), strict=True):
            assert (np.abs(share.mean(axis=0) - chance) < 4.5 * share.std(axis=0) / np.sqrt(300)).all()


def naive_rotated(delta, generator):
    """Both frames whole, by Gram and Schmidt."""

    def haar(d):
        columns = []
        for _ in range(d):
            v = generator.standard_normal(d)
            for column in columns:
                v = v - (v @ column) * column
            columns.append(v / np.linalg.norm(v))
        return np.stack(columns, axis=1)

    m, n = delta.shape
    left, s, right = np.linalg.svd(delta, full_matrices=False)
    return haar(m)[:, : len(s)] @ np.diag(s) @ haar(n)[:, : len(s)].T


@pytest.mark.parametrize("shape", [(3, 3), (4, 3), (8, 2), (2, 8)])  # Householder's frames, and Cholesky's
def test_random_singular_vectors_are_distributed_as_whole_haar_frames(shape):
    delta, draws = tensor(*shape).numpy(), 1500
    fast = np.stack([perturb("w", torch.from_numpy(delta), "spectrum_preserving", draw) for draw in range(draws)])
    generator = np.random.default_rng(0)
    slow = np.stack([naive_rotated(delta, generator) for _ in range(draws)])
    np.testing.assert_allclose(np.linalg.norm(fast, axis=(1, 2)), np.linalg.norm(delta), rtol=1e-12)
    variance = (delta**2).sum() / delta.size  # of every element, by invariance
    assert np.abs(fast.mean(axis=0)).max() < 4.5 * np.sqrt(variance / draws)
    for statistic in (
        lambda x: x**2,
        lambda x: x**4,
        lambda x: (x[:, :1] * x[:, 1:2]) ** 2,
        lambda x: np.abs(x + x[:, :1, :1]),
    ):
        a, b = statistic(fast), statistic(slow)
        error = np.sqrt((a.var(axis=0) + b.var(axis=0)) / draws)
        assert (np.abs(a.mean(axis=0) - b.mean(axis=0)) <= 4.5 * error + 1e-12).all()
    np.testing.assert_allclose((fast**2).mean(axis=0), variance, rtol=0.15)


def test_isotropic_noise_has_no_preferred_element_or_sign():
    found = torch.stack([perturb("w", tensor(5, 3), "isotropic", draw) for draw in range(2000)])
    variance = tensor(5, 3).square().mean().item()
    assert found.mean(0).abs().max() < 4.5 * np.sqrt(variance / 2000)
    np.testing.assert_allclose(found.square().mean(0), variance, rtol=0.15)


@pytest.mark.parametrize("kind", RANDOM_KINDS)
def test_draws_depend_on_seed_kind_draw_and_name_alone(kind):
    delta = tensor(5, 3)
    first = perturb("w", delta, kind, draw=1, seed=2)
    assert torch.equal(first, perturb("w", delta, kind, draw=1, seed=2))
    for other in (perturb("w", delta, kind, 2, 2), perturb("w", delta, kind, 1, 3), perturb("v", delta, kind, 1, 2)):
        assert not torch.allclose(first, other)


def test_draws_do_not_change_between_releases():
    np.testing.assert_allclose(
        perturb("w", torch.ones(3), "isotropic", seed=0), [0.273180061735, 0.526622815919, 1.627280265850]
    )


@pytest.mark.parametrize("kind", KINDS)
def test_a_perturbed_model_has_the_siblings_displacement(kind, pair):
    model, sibling = pair
    base = tiny_model(model.config.model_type)
    wanted = displacement(sibling, base) * options(kind).get("t", 1)
    with perturbed(model, difference(model, sibling), kind, **options(kind)) as found:
        assert displacement(model, base) == pytest.approx(wanted, rel=1e-6)
        assert found.displacement == pytest.approx(wanted, rel=1e-6)
        assert found.requested == pytest.approx(wanted, rel=1e-6)


def test_interpolation_runs_from_the_base_to_the_sibling(pair):
    model, sibling = pair
    before = bits(model)
    with perturbed(model, difference(model, sibling), "interpolation", t=0.0) as found:
        assert_same(bits(model), before)
        assert found.displacement == 0
    with perturbed(model, difference(model, sibling), "interpolation", t=1.0):
        for name, weight in model.named_parameters():
            torch.testing.assert_close(weight, sibling.get_parameter(name), rtol=1e-6, atol=1e-6)


def test_the_negated_update_mirrors_the_sibling(pair):
    model, sibling = pair
    base = {name: weight.clone() for name, weight in model.named_parameters()}
    with perturbed(model, difference(model, sibling), "negated"):
        for name, weight in model.named_parameters():
            torch.testing.assert_close(weight + sibling.get_parameter(name), 2 * base[name], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_the_base_comes_back_bit_for_bit(kind, pair):
    model, sibling = pair
    with torch.no_grad():
        next(model.parameters()).view(-1)[0] = -0.0
    before, delta = bits(model), difference(model, sibling)
    places = {name: weight.data_ptr() for name, weight in model.named_parameters()}
    with perturbed(model, delta, kind, **options(kind)):
        assert not any(torch.equal(weight, before[name]) for name, weight in bits(model).items())
    assert_same(bits(model), before)
    with pytest.raises(ZeroDivisionError), perturbed(model, delta, kind, **options(kind)):
        raise ZeroDivisionError
    assert_same(bits(model), before)
    assert {name: weight.data_ptr() for name, weight in model.named_parameters()} == places


def test_the_base_comes_back_from_an_error_halfway_through_the_weights(pair, monkeypatch):
    model, sibling = pair
    before, delta, calls = bits(model), difference(model, sibling), []

    def failing(name, *args):
        calls.append(name)
        if len(calls) == 5:
            raise MemoryError
        return perturb(name, *args)

    monkeypatch.setattr("stages.paradigms.perturbation.perturb", failing)
    with pytest.raises(MemoryError), perturbed(model, delta, "isotropic"):
        pass
    assert len(calls) == 5
    assert_same(bits(model), before)


def test_the_order_of_tensors_does_not_matter(pair):
    model, sibling = pair
    delta = difference(model, sibling)
    with perturbed(model, delta, "spectrum_preserving", draw=3):
        first = bits(model)
    with perturbed(model, dict(reversed(delta.items())), "spectrum_preserving", draw=3):
        assert_same(bits(model), first)
    with perturbed(model, delta, "spectrum_preserving", draw=4):
        assert not any(torch.equal(weight, first[name]) for name, weight in bits(model).items())


@pytest.mark.parametrize("kind", KINDS)
def test_tied_tensors_stay_tied_also_on_disk(kind, tmp_path):
    model = tiny_model("gpt2")
    tied = model.transformer.wte.weight
    before = tied.clone()
    with perturbed(model, difference(model, moved_from(model)), kind, **options(kind)):
        assert model.lm_head.weight is model.transformer.wte.weight is tied
        assert not torch.equal(tied, before)
        inside = bits(model)
        model.save_pretrained(tmp_path)
    written = load_model(at(tmp_path), "float32", target=CPU)
    assert written.lm_head.weight is written.transformer.wte.weight
    assert_same(bits(written), inside)


@pytest.mark.parametrize("family", ["olmo3", "gpt2"])
def test_the_update_of_two_checkpoints_is_that_of_their_models(family, tiny_folders, tmp_path):
    model = tiny_model(family)
    sibling = moved_from(model)
    sibling.save_pretrained(tmp_path)
    found = update(at(tiny_folders[family], "base"), at(tmp_path, "sibling"))
    assert list(found) == [name for name, _ in model.named_parameters()]
    assert all(value.dtype == torch.float32 for value in found.values())
    assert_same(found, {n: w.detach() - model.get_parameter(n).detach() for n, w in sibling.named_parameters()})


def test_checkpoints_of_another_shape_are_named(tiny_folders):
    with pytest.raises(
        PerturbationError, match=r"b is no sibling of a, .* only in b: model\.layers\.0\.self_attn\.q_norm"
    ):
        update(at(tiny_folders["llama"], "a"), at(tiny_folders["qwen3"], "b"))
    with pytest.raises(PerturbationError, match=r"only in a: .*only in b"):
        update(at(tiny_folders["llama"], "a"), at(tiny_folders["gpt2"], "b"))
    with pytest.raises(
        PerturbationError,
        match=r"of unlike shapes: model\.layers\.0\.self_attn\.k_proj\.weight \(16, 16\) and \(8, 16\)",
    ):
        update(at(tiny_folders["llama"], "a"), at(tiny_folders["mistral"], "b"))


def test_weights_that_are_not_finite_are_named(tiny_folders, tmp_path):
    folder = shutil.copytree(tiny_folders["olmo3"], tmp_path / "bad")
    weights = load_file(folder / "model.safetensors")
    weights["model.norm.weight"][0] = torch.nan
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(PerturbationError, match=r"b minus a is not finite in 1 parameters: model\.norm\.weight"):
        update(at(tiny_folders["olmo3"], "a"), at(folder, "b"))


def test_a_gguf_file_and_safetensors_are_no_pair(tiny_folders):
    with pytest.raises(PerturbationError, match="one is a GGUF file"):
        update(at(tiny_folders["llama"], "a"), at(tiny_folders["llama"], "b", gguf="model.gguf"))


def test_an_update_that_drowns_in_bfloat16_is_refused():
    model = tiny_model("olmo3")
    delta = difference(model, moved_from(model, size=1e-4))
    with perturbed(model, delta, "isotropic"):
        pass
    model = model.bfloat16()
    before = {name: weight.clone() for name, weight in model.named_parameters()}
    with (
        pytest.raises(PerturbationError, match=r"after rounding to bfloat16 .* load the model, .* in float32"),
        perturbed(model, delta, "isotropic"),
    ):
        pass
    assert_same(dict(model.named_parameters()), before)
    with perturbed(model, difference(tiny_model("olmo3"), moved_from(tiny_model("olmo3"))), "isotropic") as found:
        assert found.displacement == pytest.approx(found.requested, rel=0.02)


def test_an_update_of_another_model_and_quantised_weights_are_refused():
    model = tiny_model("olmo3")
    delta = difference(model, moved_from(model))
    del delta["model.norm.weight"]
    with (
        pytest.raises(PerturbationError, match=r"1 parameters: model\.norm\.weight"),
        perturbed(model, delta, "negated"),
    ):
        pass
    quantised = torch.nn.Linear(2, 2)
    quantised.weight = torch.nn.Parameter(torch.ones(2, 2, dtype=torch.int8), requires_grad=False)
    zeros = {name: torch.zeros(weight.shape) for name, weight in quantised.named_parameters()}
    with (
        pytest.raises(PerturbationError, match="quantised or not in memory: weight"),
        perturbed(quantised, zeros, "negated"),
    ):
        pass


@pytest.mark.parametrize(("kind", "t", "message"), [
    ("random_walk", None, "'random_walk': expected one of isotropic, spectrum_preserving, negated, interpolation"),
    ("interpolation", None, "t = None"), ("interpolation", 1.5, "t = 1.5"), ("interpolation", float("nan"), "t = nan"),
    ("isotropic", 0.5, "only interpolation has a t"),
])  # fmt: skip
def test_bad_arguments_are_refused(kind, t, message):
    with pytest.raises(PerturbationError, match=message):
        perturb("w", torch.ones(3), kind, t=t)
    with pytest.raises(PerturbationError, match=message), perturbed(tiny_model("olmo3"), {}, kind, t=t):
        pass
