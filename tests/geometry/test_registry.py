"""Every measure has exactly the invariances that it declares: those hold, the others fail."""

import numpy as np
import pytest

from stages.geometry.registry import catalogue
from tests.support.plain_measures import evaluate

MEASURES = catalogue(ks=(2, 4), decay=[(0.1, 0.8), (0.1, 0.5)], share=0.9, legacy_k=3, bands=(0, 0.3, 1))
CASES = [pytest.param(m, v, id=f"{m.name}-{v.name}") for m in MEASURES for v in m.variants]
GENERATOR = np.random.default_rng(0)
N, D = 80, 12
REFERENCE = GENERATOR.standard_normal((N, D)) @ np.diag(np.arange(1, D + 1) ** -0.7) + 0.3
MODEL = REFERENCE @ (np.eye(D) + 0.15 * GENERATOR.standard_normal((D, D))) + 0.1 * GENERATOR.standard_normal((N, D))
MODEL[0] *= 15  # a massive row
ROTATION = np.linalg.qr(GENERATOR.standard_normal((D, D)))[0]

TRANSFORMED = {
    "common_rotation": (REFERENCE @ ROTATION, MODEL @ ROTATION),
    "rotation": (REFERENCE, MODEL @ ROTATION),
    "scale": (REFERENCE, 7.3 * MODEL),
    "translation": (REFERENCE, MODEL + 20 * GENERATOR.standard_normal(D)),
    "dimension_scale": (REFERENCE, MODEL * np.geomspace(0.05, 20, D)),
}


@pytest.mark.parametrize("transformation", TRANSFORMED)
@pytest.mark.parametrize(("measure", "variant"), CASES)
def test_declared_invariances_hold_and_no_others(measure, variant, transformation):
    declared = transformation in measure.invariances and (variant.centred or transformation != "translation")
    before, after = (
        evaluate(measure, variant, REFERENCE, MODEL),
        evaluate(measure, variant, *TRANSFORMED[transformation]),
    )
    assert np.isfinite([before, after]).all()
    assert (abs(after - before) < 1e-6 * (1 + abs(before))) == declared


def test_names_are_unique():
    names = [(m.name, v.name) for m in MEASURES for v in m.variants]
    assert len(set(names)) == len(names)


def test_every_measure_states_its_source():
    assert all(measure.source for measure in MEASURES)
