"""Prompts against layers as the sampled unit, on layers that are all but copies of each other."""

import numpy as np
import pytest

from stages.statistics.contrast import LayerValues, contrast, studentised_maximum
from stages.statistics.half_sampling import complement_deviations
from stages.statistics.legacy import over_layers

LAYERS, PROMPTS, DRAWS = 16, 200, 204


def along_layers(generator, shape, rho=0.95):
    """AR(1) noise of unit variance along the last axis (..., layers)."""
    noise = generator.standard_normal((*shape, LAYERS))
    for layer in range(1, LAYERS):
        noise[..., layer] = rho * noise[..., layer - 1] + np.sqrt(1 - rho**2) * noise[..., layer]
    return noise


def curve_of(scores, halves):
    """Mean over prompts of ``scores`` (prompts, layers), with the draws of its error."""
    replicates = np.stack([scores[half].mean(axis=0) for half in halves], axis=-1)  # (layers, B)
    return LayerValues(scores.mean(axis=0)[None], complement_deviations(replicates, PROMPTS)[None])


def two_models(generator, effect=0.0):
    """Two models with independent errors along prompts and layers; ``effect`` in units of a prompt's sd."""
    orders = [generator.permutation(PROMPTS) for _ in range(DRAWS // 2)]
    halves = [half for order in orders for half in np.split(order, 2)]  # complements side by side
    scores = along_layers(generator, (2, PROMPTS))
    return curve_of(scores[0] + effect, halves), curve_of(scores[1], halves)


def constant(value, spread=0.01, tasks=2, layers=3, seed=0):
    deviations = np.random.default_rng(seed).standard_normal((tasks, layers, DRAWS)) * spread
    return LayerValues(np.full((tasks, layers), value), deviations)


def test_under_no_effect_the_prompt_test_holds_its_level_and_welch_over_layers_does_not():
    generator = np.random.default_rng(0)
    runs = 300
    average, somewhere, welch = 0, 0, 0
    for _ in range(runs):
        pair = two_models(generator)
        found = contrast([pair], 0.95, 6)
        average += found.p < 0.05
        somewhere += found.layer_p < 0.05
        legacy = over_layers(pair[0].values[0], pair[1].values[0])
        welch += min(legacy.welch_p, 1 - legacy.welch_p) < 0.025
    assert 0.02 <= average / runs <= 0.09
    assert 0.02 <= somewhere / runs <= 0.09
    assert welch / runs > 0.5


def test_a_planted_effect_is_found():
    generator = np.random.default_rng(1)
    found = [contrast([two_models(generator, effect=0.5)], 0.95, 6) for _ in range(20)]
    assert np.mean([f.p < 0.05 for f in found]) > 0.9
    assert np.mean([f.low <= 0.5 <= f.high for f in found]) > 0.8


def test_an_effect_in_one_layer_is_found_somewhere_and_located():
    estimate = np.zeros(5)
    estimate[3] = 1.0
    deviations = np.random.default_rng(0).standard_normal((5, 999)) * 0.1
    where, z, p = studentised_maximum(estimate, deviations)
    assert where == 3 and z == pytest.approx(10, rel=0.1) and p == pytest.approx(0.001)


def test_a_model_against_itself_differs_nowhere():
    found = contrast([(constant(0.5), constant(0.5))], 0.95, 6)
    assert (found.estimate, found.standard_error, found.p, found.layer_z, found.layer_p) == (0, 0, 1, 0, 1)


def test_cells_missing_on_one_side_are_left_out_of_both():
    more, less = constant(1.0), constant(0.5, seed=1)
    more.values[:, 0] = np.nan
    less.deviations[1, 2, 5] = np.nan
    found = contrast([(more, less)], 0.95, 6)
    assert found.estimate == pytest.approx(0.5) and (found.used, found.cells) == (3, 6)


def test_nothing_left_is_an_error():
    with pytest.raises(ValueError, match="no \\(task, layer\\) has the quantity"):
        contrast([(constant(np.nan), constant(0.5))], 0.95, 6)


def test_with_enough_families_they_are_the_sampled_unit():
    differences = np.array([0.1, 0.3, 0.2, 0.25, 0.15, 0.2])
    pairs = [(constant(0.5 + x, spread=1e-6), constant(0.5, spread=1e-6)) for x in differences]
    found, few = contrast(pairs, 0.95, 6), contrast(pairs, 0.95, 7)
    error = differences.std(ddof=1) / np.sqrt(6)
    assert found.standard_error == pytest.approx(error)
    assert found.high - found.estimate == pytest.approx(2.570582 * error, rel=1e-5)  # t of 5 degrees of freedom
    assert few.estimate == pytest.approx(found.estimate) and few.standard_error < 1e-5
    assert found.cohen_dz == pytest.approx(differences.mean() / differences.std(ddof=1)) and np.isnan(few.cohen_dz)
    assert found.family_sd == few.family_sd == pytest.approx(differences.std(ddof=1))
    assert np.isnan(contrast(pairs[:1], 0.95, 6).family_sd)


def test_the_mixed_model_reads_tasks_that_have_the_quantity():
    generator = np.random.default_rng(0)
    pairs = []
    for family in generator.normal(0.2, 0.1, 8):
        more = constant(0.0, tasks=3)
        more.values[:] += family + generator.normal(0, 0.02, (3, 1))
        more.values[2] = np.nan
        pairs.append((more, constant(0.0, tasks=3)))
    found = contrast(pairs, 0.95, 6)
    assert found.mixed_note == "" and found.mixed_estimate == pytest.approx(found.estimate, rel=1e-3)
    assert found.mixed_standard_error == pytest.approx(found.standard_error, rel=0.01)
