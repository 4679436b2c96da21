"""A small sound group `measure`."""

from stages.paradigms.params import MeasureParams

MEASURE = {
    "aggregation": "last_token", "positions": [], "unlike": [], "ks": [2, 3], "headline_k": 3,
    "interval_sites": ["resid_post"], "half_samples": 24, "plain_half_samples": 6, "confidence": 0.95,
    "decay_ranks": [{"first": 0.08, "last": 0.8}], "bands": [0, 0.3, 1], "components_share": 0.9, "legacy_k": 100,
    "nulls": {"subspaces": 100, "spectra": 2}, "topology": None, "seed": 0,
}  # fmt: skip


def measure_params(**changes: object) -> MeasureParams:
    """Return the group, with ``changes``."""
    return MeasureParams.model_validate({**MEASURE, **changes})
