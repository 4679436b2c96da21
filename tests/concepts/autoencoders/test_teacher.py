"""A teacher's concepts stand where they should, with as much noise as was asked for."""

import numpy as np
import pytest
import torch

from stages.concepts.autoencoders.hierarchical import Hierarchical, Shape
from stages.concepts.autoencoders.teacher import Teacher, initialise, teach

D, KINDS, WORDS = 24, 3, 5
SHAPE = Shape(D, 6, 8, 6, 1)


def states(seed=0):
    generator = np.random.default_rng(seed)
    parent = np.repeat(np.arange(KINDS), WORDS)
    return 5 * generator.standard_normal((KINDS, D))[parent] + generator.standard_normal((KINDS * WORDS, D)), parent


def taught(noise=0.0, shape=SHAPE):
    model, teacher = Hierarchical(shape, 0), teach(*states(), KINDS)
    initialise(model, teacher, noise, 0)
    return model, teacher


def unit(rows):
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def test_kinds_are_means_from_the_grand_mean_and_words_depart_from_them():
    values, parent = states()
    found = teach(values, parent, KINDS)
    np.testing.assert_allclose(found.parents.sum(axis=0), 0, atol=1e-12)
    mean = values[parent == 1].mean(axis=0)
    np.testing.assert_allclose(found.departures[1], values[parent == 1] - mean)
    np.testing.assert_allclose(found.parents[1] - found.parents[0], mean - values[parent == 0].mean(axis=0))


def test_without_noise_directions_are_the_teachers():
    model, teacher = taught()
    np.testing.assert_allclose(model.parents[:KINDS].detach(), unit(teacher.parents), atol=1e-5)
    torch.testing.assert_close(model.router[:KINDS], model.parents[:KINDS])
    for kind, departures in enumerate(teacher.departures):
        found = model.departures()[kind, :WORDS].detach().numpy()
        np.testing.assert_allclose(unit(found), unit(departures), atol=1e-4)


def test_other_parents_stay_and_subspaces_are_orthonormal():
    model, _ = taught()
    before = Hierarchical(SHAPE, 0)
    for name in ("parents", "up", "atoms", "router", "child_encoder"):
        torch.testing.assert_close(getattr(model, name)[KINDS:], getattr(before, name)[KINDS:])
    torch.testing.assert_close(model.up @ model.up.mT, torch.eye(6).expand(6, 6, 6), atol=1e-5, rtol=1e-5)


def test_a_ladder_of_noise_takes_the_teacher_away():
    teacher = unit(teach(*states(), KINDS).parents)
    cosines = [
        (taught(noise)[0].parents[:KINDS].detach().numpy() * teacher).sum(axis=1).mean() for noise in (0, 1, 2, 50)
    ]
    assert cosines[0] == pytest.approx(1, abs=1e-5) and cosines[0] > cosines[1] > cosines[2] > cosines[3]
    assert cosines[1] == pytest.approx(2**-0.5, abs=0.15) and abs(cosines[3]) < 0.4


def test_more_words_than_dimensions_take_the_largest_ones():
    shape = Shape(D, 6, 8, 2, 1)
    model, teacher = taught(shape=shape)
    frame = np.linalg.svd(unit(teacher.departures[0]), full_matrices=False)[2][:2]
    overlap = np.linalg.svd(frame @ model.up[0].detach().numpy().T, compute_uv=False)
    np.testing.assert_allclose(overlap, 1, atol=1e-5)


def test_too_many_kinds_or_another_width_are_refused():
    model = Hierarchical(Shape(D, 2, 8, 6, 1), 0)
    with pytest.raises(ValueError, match="a teacher of 3 kinds in 24 dimensions"):
        initialise(model, teach(*states(), KINDS), 0.0, 0)
    with pytest.raises(ValueError, match="a teacher of 1 kinds in 3 dimensions"):
        initialise(model, Teacher(np.eye(3)[:1], [np.eye(3)]), 0.0, 0)
