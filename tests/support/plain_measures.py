"""Every measure of the catalogue computed the plain, slow way from two matrices of activations."""

from __future__ import annotations

import numpy as np

from stages.geometry.dimension import neighbours
from stages.geometry.registry import SIDES, ActivationMeasure, MeasureVariant
from stages.geometry.similarity import squared_distances
from stages.geometry.spectrum import factorise


def evaluate(measure: ActivationMeasure, variant: MeasureVariant, reference: np.ndarray, model: np.ndarray) -> float:
    """Return the measure of ``model`` (n, d), against ``reference`` (n, d) where it compares two models."""
    if measure.input == "spectrum":
        return float(variant.function(factorise(model, variant.centred)))
    if measure.input in ("cloud", "surface"):
        return float(variant.function(model))
    if measure.input == "neighbours":
        return float(variant.function(neighbours(model, variant.k)))
    if measure.input == "distances":
        return float(variant.function(squared_distances(reference), squared_distances(model)))
    if measure.input == "captured":
        clouds = (reference, model) if SIDES[0] in variant.name else (model, reference)
        bases = (factorise(x, variant.centred, variant.k).basis for x in clouds)
        return float(variant.function(clouds[0] - variant.centred * clouds[0].mean(axis=0), *bases))
    if measure.input == "bases":
        return float(variant.function(*(factorise(x, variant.centred, variant.k).basis for x in (reference, model))))
    return float(variant.function(reference, model))
