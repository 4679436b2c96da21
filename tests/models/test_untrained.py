"""A model before any training: its configuration's own draw, and no trace in torch's random state."""

import pytest
import torch

from stages.models.checkpoint import Checkpoint
from stages.models.untrained import untrained_model


def checkpoint(folder):
    return Checkpoint(folder.name, folder, "other", "local", "", folder.name)


def weights(model):
    return torch.cat([weight.flatten() for weight in model.parameters()])


@pytest.mark.parametrize("family", ["gpt2", "olmo3", "gpt_neox"])
def test_one_draw_for_one_seed_and_none_of_the_trained_weights(tiny_folders, tiny_models, family):
    found = weights(untrained_model(checkpoint(tiny_folders[family]), "float32", 0))
    assert torch.equal(found, weights(untrained_model(checkpoint(tiny_folders[family]), "float32", 0)))
    assert not torch.equal(found, weights(untrained_model(checkpoint(tiny_folders[family]), "float32", 1)))
    assert found.shape == weights(tiny_models[family]).shape and not torch.allclose(found, weights(tiny_models[family]))


def test_torch_goes_on_as_if_nothing_had_been_drawn(tiny_folders):
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    untrained_model(checkpoint(tiny_folders["olmo3"]), "float32", 0)
    assert torch.equal(torch.rand(4), expected)


def test_precision_is_that_of_the_trained_model(tiny_folders):
    model = untrained_model(checkpoint(tiny_folders["gpt2"]), "bfloat16", 0)
    assert {weight.dtype for weight in model.parameters()} == {torch.bfloat16} and not model.training
