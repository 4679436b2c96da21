"""Training: it learns, its stages are what they say, and a cut-off run ends as one that was not."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from stages.concepts.autoencoders import training
from stages.concepts.autoencoders.flat import Flat
from stages.concepts.autoencoders.hierarchical import Hierarchical, Shape
from stages.concepts.autoencoders.losses import Weights
from stages.concepts.autoencoders.training import (
    CheckpointError,
    Scale,
    TrainingPlan,
    begin,
    load_weights,
    resume,
    save,
    train,
)
from tests.support.damage import flip

D, BATCH, PER_PORTION = 16, 64, 3
SHAPE = Shape(D, 4, 4, 4, 1)
PLAN = TrainingPlan(12, BATCH, 4, 3e-3, 2, 1.0, Weights(biorthogonal=0.01))
SETTINGS = {"learning_rate": 0.003, "seed": 0}


def tokens(seed: int = 0) -> torch.Tensor:
    """Of four clusters, each with four points around it."""
    generator = torch.Generator().manual_seed(seed)
    centres = 4 * torch.eye(D)[:4]
    points = centres[:, None] + torch.eye(D)[4:8]
    rows = points.flatten(0, 1)[torch.randint(16, (BATCH * PER_PORTION,), generator=generator)]
    return rows + 0.05 * torch.randn(rows.shape, generator=generator)


def portions(start: int):
    number = start
    while True:
        yield tokens(number)
        number += 1


SCALE = Scale(torch.zeros(D), 1.0)


def fresh(name="run", plan=PLAN, seed=0):
    return begin(name, Hierarchical(SHAPE, seed), plan)


def ran(runs, keep=lambda run: None, **options):
    train(runs, portions, PER_PORTION, SCALE, keep, **options)
    return runs


def weights(run):
    return {name: value.clone() for name, value in run.model.state_dict().items()}


def test_a_flipped_bit_anywhere_is_refused(tmp_path):
    path = tmp_path / "run.safetensors"
    save(path, fresh(), SCALE, SETTINGS, True)
    whole = path.read_bytes()
    for bit in [*range(0, 2400, 37), *np.random.default_rng(0).integers(8 * len(whole), size=100)]:
        path.write_bytes(flip(whole, bit))
        with pytest.raises(CheckpointError, match="is no complete autoencoder"):
            resume(path, fresh(), SETTINGS)


@pytest.mark.parametrize("model", [lambda: Hierarchical(SHAPE, 0), lambda: Flat(D, 32, 2, 0)])
def test_training_explains_planted_clusters(model):
    plan = PLAN._replace(steps=300, frozen=0, learning_rate=1e-2, weights=Weights(sparsity=0.0))
    run = begin("run", model(), plan)
    ran([run])
    curve = [row["value"] for row in run.progress["curve"] if row["term"] == "reconstruction"]
    assert curve[0] > 0.4 and curve[-1] < 0.15


def test_the_decoder_stands_still_and_then_moves():
    decoder = ("parents", "up", "atoms")
    start, still, moved = (weights(fresh()), *(weights(ran([fresh(plan=PLAN._replace(steps=n))])[0]) for n in (4, 12)))
    for name in decoder:
        torch.testing.assert_close(still[name], start[name], rtol=0, atol=2e-6)
        assert not torch.allclose(moved[name], start[name], atol=1e-4)
    assert not torch.allclose(still["router"], start["router"], atol=1e-4)


def test_directions_keep_their_length():
    model = ran([fresh()])[0].model
    for rows in (model.parents, model.atoms):
        torch.testing.assert_close(rows.norm(dim=-1), torch.ones(rows.shape[:-1]))
    torch.testing.assert_close(model.up @ model.up.mT, torch.eye(4).expand(4, 4, 4), atol=1e-5, rtol=1e-5)


@dataclass
class Cut(Exception):
    pass


@pytest.mark.parametrize("kind", ["hierarchical", "flat"])
def test_a_run_that_is_cut_off_ends_as_one_that_is_not(tmp_path, kind, monkeypatch):
    def make():
        return fresh() if kind == "hierarchical" else begin("run", Flat(D, 32, 2, 0), PLAN)

    path, whole = tmp_path / "run.safetensors", ran([make()])[0]
    kept = []

    def keep(run):
        save(path, run, SCALE, SETTINGS, True)
        kept.append(run.progress["step"])
        if len(kept) == 2:
            raise Cut

    with pytest.raises(Cut):
        ran([make()], keep, seconds=0)
    again = make()
    resume(path, again, SETTINGS)
    assert again.progress["step"] == kept[-1] == 6
    ran([again])
    assert again.progress == whole.progress
    for name, value in weights(whole).items():
        torch.testing.assert_close(again.model.state_dict()[name], value, rtol=0, atol=0)


def test_runs_side_by_side_are_as_each_alone():
    both = ran([fresh("a", seed=0), fresh("b", seed=1)])
    for run, seed in zip(both, (0, 1), strict=True):
        alone = ran([fresh(seed=seed)])[0]
        for name, value in weights(alone).items():
            torch.testing.assert_close(run.model.state_dict()[name], value, rtol=0, atol=0)


def test_a_finished_autoencoder_holds_what_use_needs_and_no_more(tmp_path):
    run, x = ran([fresh()])[0], tokens()
    paths = [tmp_path / "one.safetensors", tmp_path / "two.safetensors"]
    for path in paths:
        save(path, run, Scale(torch.arange(D).float(), 2.5), SETTINGS, False)
    assert paths[0].read_bytes() == paths[1].read_bytes() and b"adam" not in paths[0].read_bytes()
    model = Hierarchical(SHAPE, 3)
    scale = load_weights(paths[0], model, SETTINGS)
    torch.testing.assert_close(model(x).whole, run.model(x).whole)
    assert scale.scale == 2.5 and not any(value.requires_grad for value in model.parameters())
    torch.testing.assert_close(scale.outward(scale.inward(x)), x)


def test_another_configuration_is_named_and_the_file_left_alone(tmp_path):
    path = tmp_path / "run.safetensors"
    save(path, ran([fresh()])[0], SCALE, SETTINGS, True)
    before = path.read_bytes()
    for read in (lambda: load_weights(path, Hierarchical(SHAPE, 0), SETTINGS | {"seed": 4}),
                 lambda: resume(path, fresh(), SETTINGS | {"seed": 4})):  # fmt: skip
        with pytest.raises(CheckpointError, match="seed 0, expected 4"):
            read()
    with pytest.raises(CheckpointError, match="extra None, expected 1"):
        load_weights(path, Hierarchical(SHAPE, 0), SETTINGS | {"extra": 1})
    assert path.read_bytes() == before


def test_missing_and_truncated_files_are_named(tmp_path):
    path = tmp_path / "run.safetensors"
    with pytest.raises(CheckpointError, match="not found: run `dvc repro concepts-autoencode`"):
        load_weights(path, Hierarchical(SHAPE, 0), SETTINGS)
    save(path, fresh(), SCALE, SETTINGS, False)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(CheckpointError, match="is no complete autoencoder"):
        load_weights(path, Hierarchical(SHAPE, 0), SETTINGS)


@pytest.mark.parametrize("model", [lambda: Hierarchical(SHAPE, 0), lambda: Flat(D, 32, 2, 0)])
def test_a_loss_that_is_not_finite_names_run_and_step(model):
    def broken(start):
        yield tokens() * float("nan")

    with pytest.raises(ValueError, match="mine, step 0: the loss is not finite"):
        train([begin("mine", model(), PLAN)], broken, PER_PORTION, SCALE, lambda run: None)


def test_the_learning_rate_warms_up_and_decays():
    plan = PLAN._replace(steps=100, warmup=10)
    factors = [training._schedule(step, plan) for step in range(100)]
    assert factors[0] == 0.1 and factors[9] == 1 and set(factors[10:80]) == {1.0}
    assert factors[90] == pytest.approx(0.5) and 0 < factors[99] < 0.06


def test_the_causal_term_keeps_departures_orthogonal_in_its_own_product():
    metric = torch.diag(torch.linspace(0.1, 4.0, D))
    ends = {}
    for name, used in (("causal", Weights(cross=0.0, causal=5.0)), ("cross", Weights(cross=5.0))):
        plan = PLAN._replace(steps=150, frozen=0, weights=used, metric=metric)
        model = ran([fresh(plan=plan)])[0].model
        ends[name] = [
            training.loss(model, tokens(), model(tokens()), used, metric)[1][key].item() for key in ("causal", "cross")
        ]
    assert ends["causal"][0] < ends["cross"][0] and ends["cross"][1] < ends["causal"][1]
