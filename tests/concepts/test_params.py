"""Bad parameters of the concepts study are named, with what was expected."""

import pytest
import yaml
from pydantic import ValidationError

from stages.concepts.autoencoder_params import Autoencoders
from stages.concepts.params import Concepts
from tests.support.project import ROOT

RAW = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))


PLAIN = RAW["autoencoders"]["variants"]["untrained"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"templates": ["the {word}", "a {word} is", "one {word}"], "held_out_templates": 1},
            "'a {word} is': expected words before",
        ),
        (
            {"templates": ["the {word}", "{word}", "one {word}"], "held_out_templates": 1},
            "'{word}': expected words before",
        ),
        ({"templates": ["the {word}", "the {word}", "one {word}"], "held_out_templates": 1}, "stand only once"),
        ({"held_out_templates": 6}, "held_out_templates 6 of 7 templates: expected two or more"),
        ({"models": {"gpt2": "gpt2-xl"}}, "its reference 'gpt2-xl' must stand among models"),
        ({"organisms": ["base", "sftt"]}, "unknown organism 'sftt'"),
        ({"organisms": ["sft"]}, "need 'base'"),
        ({"shrinkage": "none"}, "ledoit_wolf"),
        ({"interventions": {"contexts": 24, "strengths": [0.5, 0.5]}}, "strengths .* only once"),
        ({"unknown": 1}, "Extra inputs"),
    ],
)
def test_concepts(changes, message):
    with pytest.raises(ValidationError, match=message):
        Concepts(**RAW["concepts"] | changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"variants": {"a": PLAIN | {"architecture": "flat", "initial": "teacher"}}}, "a flat autoencoder has neither"),
        ({"variants": {"a": PLAIN | {"noise": [1.0]}}}, "of a random initialisation"),
        ({"variants": {"a": PLAIN | {"initial": "teacher", "noise": [1.0, 1.0]}}}, "expected different values"),
        ({"variants": {"a": PLAIN | {"k": 99}}}, "k = 99 of 24 parents"),
        ({"variants": {"probe": PLAIN}}, "the name stands for a baseline"),
        ({"variants": {"a.b": PLAIN}}, "names stages and folders"),
        ({"comparisons": {"x": {"more": "teacher", "less": "gone"}}}, "'gone' is no variant: expected one of random"),
        ({"buffer": 10}, "buffer 10: expected at least one batch of 512"),
        ({"seeds": [1, 1]}, "stand only once"),
        ({"warmup": 201}, "warmup 201 of 200 steps"),
        ({"variants": {"a": PLAIN | {"sibling_seeds": 9}}}, "sibling_seeds 9 of 8 seeds"),
    ],
)
def test_autoencoders(changes, message):
    with pytest.raises(ValidationError, match=message):
        Autoencoders(**RAW["autoencoders"] | ({"comparisons": {}} if "variants" in changes else {}) | changes)


def test_the_layer_is_a_share_of_the_layers():
    concepts = Concepts(**RAW["concepts"])
    assert [concepts.layer(layers) for layers in (8, 12, 1)] == [3, 5, 0]
    assert concepts.model_copy(update={"depth": 1.0}).layer(8) == 7
