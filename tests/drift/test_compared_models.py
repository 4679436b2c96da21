"""Which models are compared, with which references, in which order."""

import pytest

from stages.drift.compared_models import compared_models
from stages.drift.params import DriftScope
from stages.models.names import recipe_of
from stages.shared.params import ParamsError
from tests.support import drift_study as study


def subjects(seeds=(), models=None, **changes):
    return [
        tuple(one) for one in compared_models(study.params(**changes), DriftScope(list(seeds), models or {}, ["one"]))
    ]


def test_organisms_of_every_family_stand_against_their_own_base():
    assert subjects((0, 3), organisms=["base", "sft"]) == [
        ("base-s0", "base-s0"), ("base-s3", "base-s3"), ("sft-s0", "base-s0"), ("sft-s3", "base-s3"),
    ]  # fmt: skip


def test_references_come_first_wherever_they_are_named():
    found = subjects((0,), {"mine": "theirs", "theirs": "theirs"}, organisms=["sft", "base"], runs=["pythia"])
    own = [model == reference for model, reference in found]
    assert own == sorted(own, reverse=True)
    assert set(found) == {
        ("base-s0", "base-s0"), ("theirs", "theirs"), ("pythia", "pythia"), ("sft-s0", "base-s0"), ("mine", "theirs"),
    }  # fmt: skip


def test_a_run_needs_neither_seeds_nor_models():
    assert subjects(runs=["pythia-14m"]) == [("pythia-14m", "pythia-14m")]


def test_nothing_to_compare_is_said_with_what_to_name():
    with pytest.raises(ParamsError, match="name drift.organisms and study.seeds, study.models or drift.runs"):
        subjects(organisms=[])


@pytest.mark.parametrize(("model", "line"), [
    ("base-s0", "base"), ("rl_zero-s12", "rl_zero"), ("sft_matched-s3", "sft_matched"),
    ("gpt2", "gpt2"), ("olmo2-1b-sft", "olmo2-1b-sft"), ("pythia-s", "pythia-s"),
])  # fmt: skip
def test_a_line_is_the_recipe_of_an_organism_and_any_other_model_itself(model, line):
    assert recipe_of(model) == line
