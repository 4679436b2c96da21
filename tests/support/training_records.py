"""Records of trainings, as an organism's training writes them."""


def training_record(**changes) -> dict:
    """Return a sound record of an organism that starts from the base, with ``changes``; None leaves a key out."""
    record = {
        "accuracy": {"mean": {"value": 0.5, "standard_error": 0.01}},
        "format_share": 0.9,
        "completion_tokens": 12.5,
        "gain_over_base": {"value": 0.1, "low": 0.05, "high": 0.15},
        "displacement_from_base": 0.03,
        "kl_from_base": {"value": 0.1, "standard_error": 0.01},
    }
    return {key: value for key, value in (record | changes).items() if value is not None}
