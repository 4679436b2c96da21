"""The routed autoencoder against a loop over everything, its losses by hand, and a planted hierarchy that it finds."""

import pytest
import torch

from stages.concepts.autoencoders import losses
from stages.concepts.autoencoders.flat import Flat, top, unit
from stages.concepts.autoencoders.hierarchical import Hierarchical, Shape, normalise, project_gradients

SHAPE = Shape(d=12, parents=5, children=3, subspace=4, k=2)


def model(shape=SHAPE, seed=0):
    """With weights that are not as they were drawn: encoder and decoder differ, biases are not 0."""
    found = Hierarchical(shape, seed).double()
    generator = torch.Generator().manual_seed(seed + 1)
    with torch.no_grad():
        for weight in found.parameters():
            weight.add_(0.3 * torch.randn(weight.shape, generator=generator, dtype=torch.float64))
    return found


def data(n=40, d=SHAPE.d, seed=3):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def naive(of, x):
    """Every parent and child of every token, one at a time."""
    whole, tops = [], []
    for row in x:
        strengths = torch.relu(of.router @ (row - of.bias) + of.router_bias)
        out, upper = of.bias.clone(), of.bias.clone()
        for i in strengths.argsort(descending=True)[: of.shape.k]:
            upper = upper + strengths[i] * of.parents[i]
            out = out + strengths[i] * of.parents[i]
            if strengths[i] > 0:
                codes = torch.relu(of.child_encoder[i] @ (of.down[i] @ (row - of.bias)) + of.child_bias[i])
                j = codes.argmax()
                out = out + codes[j] * (of.atoms[i][j] @ of.up[i])
        whole.append(out)
        tops.append(upper)
    return torch.stack(whole), torch.stack(tops)


@pytest.mark.parametrize("k", [1, 2, 5])
def test_the_routed_pass_is_the_loop_over_everything_and_so_are_its_gradients(k):
    of, x = model(SHAPE._replace(k=k)), data()
    found = of(x)
    whole, upper = naive(of, x)
    torch.testing.assert_close(found.whole, whole)
    torch.testing.assert_close(found.top, upper)
    ours, theirs = (
        torch.autograd.grad(out.square().sum(), list(of.parameters())) for out in (of(x).whole, naive(of, x)[0])
    )
    for one, same in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, same)


def test_codes_are_those_of_the_parents_and_children_that_were_used():
    of, x = model(), data()
    codes = of(x).codes
    assert (codes.strength >= 0).all() and (codes.child_strength >= 0).all()
    rebuilt = of.bias.expand(len(x), -1)
    for t in range(SHAPE.k):
        i, j = codes.parent[:, t], codes.child[:, t]
        rebuilt = rebuilt + codes.strength[:, t, None] * of.parents[i]
        rebuilt = rebuilt + codes.child_strength[:, t, None] * of.departures()[i, j]
    torch.testing.assert_close(of(x).whole, rebuilt)
    assert not torch.equal(codes.strength, codes.strength.round())  # real codes, not one-hot ones


def test_tokens_do_not_depend_on_their_batch():
    of, x = model(), data()
    torch.testing.assert_close(of(x).whole[7:9], of(x[7:9]).whole)


def test_every_orthogonality_term_moves_what_trains():
    """Each alone has a gradient on the decoder, and a step along it lowers the term."""
    spread = data(200, SHAPE.d, 5)
    inverse = torch.linalg.inv(spread.T @ spread / 200 + 0.1 * torch.eye(SHAPE.d))
    for term in (losses.orthogonality, lambda m: losses.orthogonality(m, inverse), losses.biorthogonality):
        of = model()
        before = term(of)
        before.backward()
        assert of.parents.requires_grad and of.parents.grad.norm() > 1e-3
        with torch.no_grad():
            for weight in of.parameters():
                if weight.grad is not None:
                    weight -= 0.05 * weight.grad / weight.grad.norm()
        assert term(of) < before


def test_orthogonality_by_hand():
    of = Hierarchical(Shape(d=3, parents=1, children=2, subspace=2, k=1), 0).double()
    with torch.no_grad():
        of.parents.copy_(torch.tensor([[1.0, 0, 0]]))
        of.up.copy_(torch.eye(3, dtype=torch.float64)[:2][None])
        of.atoms.copy_(torch.tensor([[[0.0, 1.0], [1.0, 1.0]]]))
    assert losses.orthogonality(of).item() == pytest.approx((0 + 0.5) / 2)
    metric = torch.diag(torch.tensor([1.0, 3.0, 1.0], dtype=torch.float64))  # cos² of (1, 0) and (1, 1): 1 / (1 + 3)
    assert losses.orthogonality(of, metric).item() == pytest.approx((0 + 0.25) / 2)


def test_the_loss_is_the_weighted_sum_and_names_what_is_not_finite():
    of, x = model(), data()
    found = of(x)
    weights = losses.Weights(top=0.5, sparsity=0.1, cross=0.2, biorthogonal=0.3, causal=0.4)
    inverse = torch.diag(torch.arange(1.0, 1 + SHAPE.d, dtype=torch.float64))
    total, terms = losses.loss(of, x, found, weights, inverse)
    assert terms["causal"].item() == pytest.approx(losses.orthogonality(of, inverse).item())
    assert terms["causal"].item() != pytest.approx(terms["cross"].item(), rel=1e-3)
    expected = terms["reconstruction"] + sum(getattr(weights, name) * terms[name] for name in weights._fields)
    assert total.item() == pytest.approx(expected.item())
    assert terms["reconstruction"].item() == pytest.approx(
        ((x - found.whole).square().sum() / (x - x.mean(0)).square().sum()).item()
    )
    with pytest.raises(ValueError, match="not finite .*reconstruction nan"):
        losses.loss(of, x * float("nan"), found, weights, inverse)
    with pytest.raises(ValueError, match="weight 0.4 of the causal term without"):
        losses.loss(of, x, found, weights)


def test_normalising_keeps_lengths_and_gradients_lie_along_the_sphere():
    of, x = model(), data()
    normalise(of)
    torch.testing.assert_close(of.parents.norm(dim=-1), torch.ones(SHAPE.parents, dtype=torch.float64))
    torch.testing.assert_close(
        of.up @ of.up.mT, torch.eye(SHAPE.subspace, dtype=torch.float64).expand(SHAPE.parents, -1, -1)
    )
    torch.testing.assert_close(
        of.departures().norm(dim=-1), torch.ones(SHAPE.parents, SHAPE.children, dtype=torch.float64)
    )
    losses.loss(of, x, of(x), losses.Weights())[0].backward()
    project_gradients(of)
    torch.testing.assert_close((of.parents.grad * of.parents).sum(-1), torch.zeros(SHAPE.parents, dtype=torch.float64))
    assert of.parents.grad.norm() > 0


def planted(n=3000, d=16, seed=0):
    """Parents along axes 0 to 3; each has two children, apart from it and from one another; a little noise."""
    generator = torch.Generator().manual_seed(seed)
    parent, child = (torch.randint(0, high, (n,), generator=generator) for high in (4, 2))
    axes, size = torch.eye(d), 2 + torch.rand(n, 1, generator=generator)
    departure = axes[4 + 2 * parent + child] * (1 + torch.rand(n, 1, generator=generator))
    return size * axes[parent] + departure + 0.02 * torch.randn(n, d, generator=generator), parent, 2 * parent + child


def trained(of, x, steps=600, batch=256):
    optimiser = torch.optim.Adam(of.parameters(), lr=0.01)
    generator = torch.Generator().manual_seed(0)
    for _ in range(steps):
        rows = x[torch.randint(0, len(x), (batch,), generator=generator)]
        optimiser.zero_grad()
        losses.loss(of, rows, of(rows), losses.Weights(top=0.5))[0].backward()
        project_gradients(of)
        optimiser.step()
        normalise(of)
    return of


def purity(codes, labels):
    """Share of tokens whose code is most often used for their label."""
    table = torch.zeros(int(codes.max()) + 1, int(labels.max()) + 1)
    table.index_put_((codes, labels), torch.ones(len(codes)), accumulate=True)
    return (table.max(dim=1).values.sum() / len(codes)).item()


def test_a_planted_hierarchy_is_found_and_noise_has_none():
    x, parent, child = planted()
    best = 0.0
    for seed in range(4):  # a random router may leave a parent without tokens: of several starts the best
        of = trained(Hierarchical(Shape(16, 6, 2, 4, 1), seed), x)
        with torch.no_grad():
            found = of(x)
        explained = 1 - ((x - found.whole).square().sum() / (x - x.mean(0)).square().sum()).item()
        codes = found.codes
        if explained > best:
            best, pure = explained, purity(codes.parent[:, 0], parent)
            children = purity(codes.parent[:, 0] * 2 + codes.child[:, 0], child)
    assert best > 0.95 and pure > 0.95 and children > 0.9
    noise = torch.randn(3000, 16, generator=torch.Generator().manual_seed(1))
    of = trained(Hierarchical(Shape(16, 6, 2, 4, 1), 0), noise)
    with torch.no_grad():
        codes = of(noise).codes
    assert purity(codes.parent[:, 0], parent) < 0.4


def test_a_flat_autoencoder_keeps_k_codes_and_learns():
    x = planted()[0]
    flat = Flat(16, 24, 2, 0)
    assert ((flat.encode(x) > 0).sum(dim=-1) <= 2).all()
    optimiser = torch.optim.Adam(flat.parameters(), lr=0.01)
    before = (x - flat(x)).square().mean().item()
    for _ in range(200):
        optimiser.zero_grad()
        (x - flat(x)).square().mean().backward()
        optimiser.step()
        with torch.no_grad():
            flat.decoder.copy_(unit(flat.decoder))
    assert (x - flat(x)).square().mean().item() < 0.2 * before


def test_the_largest_stay():
    torch.testing.assert_close(top(torch.tensor([[3.0, 1, 2], [0, 5, 4]]), 2), torch.tensor([[3.0, 0, 2], [0, 5, 4]]))


@pytest.mark.parametrize("shape", [
    SHAPE._replace(k=0), SHAPE._replace(k=6), SHAPE._replace(children=0), SHAPE._replace(subspace=13),
])  # fmt: skip
def test_impossible_shapes_are_refused(shape):
    with pytest.raises(ValueError, match="expected 1 <= k <= parents"):
        Hierarchical(shape, 0)


def test_impossible_k_is_refused():
    with pytest.raises(ValueError, match="k = 9 of 4 latents"):
        Flat(8, 4, 9, 0)
