"""Similarity between layers and the bend of paths, on layers whose relation is known."""

import weakref

import numpy as np
import pytest

from stages.paradigms.layer_records import measure_layers

N, D = 60, 10
START = np.random.default_rng(0).standard_normal((N, D))


def test_equal_layers_are_alike_and_unrelated_ones_are_not():
    layers = [START, 2 * START + 1, np.random.default_rng(1).standard_normal((N, D))]
    rows = measure_layers(layers.__getitem__, 3, 0.95, 0).similarity
    values = {(row["layer"], row["other"]): row["cka"] for row in rows}
    assert values[0, 1] == pytest.approx(1)
    assert abs(values[0, 2]) < 0.2 and abs(values[1, 2]) < 0.2


def test_a_straight_path_does_not_bend_and_a_circle_bends_by_its_radius():
    step = np.random.default_rng(2).standard_normal((N, D))
    straight = [START + i * step for i in range(4)]
    rows = measure_layers(straight.__getitem__, 4, 0.95, 0).curvature
    assert [layer for layer, _ in rows] == [1, 2]
    assert max(row["value"] for _, row in rows) < 1e-6 and rows[0][1]["null"] > 0.1
    plane = np.zeros((2, D))
    plane[0, 0] = plane[1, 1] = 1
    circle = [START + 5 * (np.cos(a) * plane[0] + np.sin(a) * plane[1]) for a in (0, 0.4, 0.9)]
    assert measure_layers(circle.__getitem__, 3, 0.95, 0).curvature[0][1]["value"] == pytest.approx(0.2)


def test_a_constant_layer_and_a_prompt_that_stands_still_are_missing_with_their_reason():
    layers = [np.ones((N, D)), START, START]
    depth = measure_layers(layers.__getitem__, 3, 0.95, 0)
    assert [row["missing"] != "" for row in depth.similarity] == [True, True, False]
    assert "stand still" in depth.curvature[0][1]["missing"] and np.isnan(depth.curvature[0][1]["value"])


@pytest.mark.parametrize("layers", [4, 12])
def test_three_layers_are_held_at_a_time_however_many_there_are(layers):
    held, most = [], 0

    def read(layer):
        nonlocal most
        values = START + layer * np.random.default_rng(layer).standard_normal((N, D))
        held.append(weakref.ref(values))
        most = max(most, sum(reference() is not None for reference in held))
        return values

    measure_layers(read, layers, 0.95, 0)
    assert most == 3
