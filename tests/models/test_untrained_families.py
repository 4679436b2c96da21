"""Every architecture of the capture map before training: its own initialisation, and not the trained weights."""

import numpy as np
import pytest
import torch

from stages.models.checkpoint import Checkpoint
from stages.models.loading import load_model
from stages.models.untrained import untrained_model
from tests.support.tiny_models import CONFIGS, POSITIONS, VOCABULARY

IDS = torch.from_numpy(np.random.default_rng(0).integers(3, VOCABULARY, (2, 12)))


def checkpoint(folder):
    return Checkpoint(folder.name, folder, "other", "local", "", folder.name)


@pytest.mark.parametrize("family", CONFIGS)
def test_the_same_modules_as_the_trained_model_and_none_of_its_matrices(tiny_folders, family):
    trained = load_model(checkpoint(tiny_folders[family]), "float32").state_dict()
    model = untrained_model(checkpoint(tiny_folders[family]), "float32", 0)
    found = model.state_dict()
    assert {name: weight.shape for name, weight in found.items()} == {name: w.shape for name, w in trained.items()}
    matrices = [name for name, weight in found.items() if weight.ndim > 1]
    assert matrices and not any(torch.equal(found[name], trained[name]) for name in matrices)
    assert not model.training and not any(weight.requires_grad for weight in model.parameters())


@pytest.mark.parametrize("family", CONFIGS)
def test_it_runs_and_another_seed_is_another_model(tiny_folders, family):
    with torch.inference_mode():
        one, again, other = (
            untrained_model(checkpoint(tiny_folders[family]), "float32", seed)(input_ids=IDS).logits
            for seed in (0, 0, 1)
        )
    assert torch.isfinite(one).all() and torch.equal(one, again) and not torch.allclose(one, other)


@pytest.mark.parametrize("family", ["gpt2", "llama", "gpt_neox"])
def test_matrices_have_the_spread_that_the_configuration_states(tiny_folders, family):
    """Normal with `initializer_range`, .02 by default; the trained ones of these folders have .3."""
    model = untrained_model(checkpoint(tiny_folders[family]), "float32", 0)
    embeddings = model.get_input_embeddings().weight
    assert embeddings.std().item() == pytest.approx(model.config.initializer_range, rel=0.1)
    assert embeddings.mean().abs() < 0.2 * embeddings.std()  # five standard errors of 640 weights


def test_what_was_drawn_before_decides_nothing_and_goes_on_as_before(tiny_folders):
    found = []
    for before in (1, 2):
        torch.manual_seed(before)
        torch.rand(5)
        state = torch.get_rng_state()
        found.append(untrained_model(checkpoint(tiny_folders["olmo2"]), "float32", 7).get_input_embeddings().weight)
        assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(*found)


@pytest.mark.parametrize(
    ("precision", "dtype"), [("float32", torch.float32), ("bfloat16", torch.bfloat16), ("nf4", torch.bfloat16)]
)
def test_quantised_weights_are_drawn_in_their_arithmetics_type(tiny_folders, precision, dtype):
    model = untrained_model(checkpoint(tiny_folders["llama"]), precision, 0)
    assert {weight.dtype for weight in model.parameters()} == {dtype}


def test_the_trained_weights_need_not_be_there(tiny_folders, tmp_path):
    (tmp_path / "config.json").write_bytes((tiny_folders["gpt2"] / "config.json").read_bytes())
    found = untrained_model(checkpoint(tmp_path), "float32", 0)
    expected = untrained_model(checkpoint(tiny_folders["gpt2"]), "float32", 0)
    assert found.config.n_positions == POSITIONS
    assert torch.equal(found.get_input_embeddings().weight, expected.get_input_embeddings().weight)
