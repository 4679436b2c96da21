"""Muon: the orthogonalisation, and the step against torch.optim.Muon."""

import pytest
import torch

from stages.organisms.muon import Muon, orthogonalise


def test_singular_values_come_close_to_one_and_directions_stay():
    left, _ = torch.linalg.qr(torch.randn(5, 8, 8, generator=torch.Generator().manual_seed(0)))
    right, _ = torch.linalg.qr(torch.randn(5, 16, 8, generator=torch.Generator().manual_seed(1)))
    matrices = left @ torch.diag(torch.logspace(0, -1, 8)) @ right.mT
    result = orthogonalise(matrices)
    values = torch.linalg.svdvals(result)
    assert values.min() > 0.5 and values.max() < 1.3
    in_basis = left.mT @ result @ right
    assert torch.allclose(in_basis, torch.diag_embed(in_basis.diagonal(dim1=-2, dim2=-1)), atol=1e-4)


@pytest.mark.parametrize("shape", [(16, 16), (16, 32), (32, 16)])
def test_steps_agree_with_torch(shape):
    start = torch.randn(3, *shape, generator=torch.Generator().manual_seed(0))
    ours = [torch.nn.Parameter(weight.clone()) for weight in start]
    theirs = [torch.nn.Parameter(weight.clone()) for weight in start]
    optimizers = [Muon(ours, lr=0.1), torch.optim.Muon(theirs, lr=0.1, weight_decay=0.0)]
    for seed in range(3):
        gradients = torch.randn(3, *shape, generator=torch.Generator().manual_seed(seed + 1))
        for weights, optimizer in zip((ours, theirs), optimizers, strict=True):
            for weight, gradient in zip(weights, gradients, strict=True):
                weight.grad = gradient.clone()
            optimizer.step()
    for mine, other, origin in zip(ours, theirs, start, strict=True):
        # torch iterates in bfloat16, which has three significant digits
        assert torch.linalg.norm(mine - other) < 0.03 * torch.linalg.norm(other - origin)
