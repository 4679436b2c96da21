"""The gate: what it must accept, what it must reject, and what it reports."""

from types import SimpleNamespace

import numpy as np
import pytest

from stages.activations.params import Quality
from stages.paradigms.quality import QualityError, check_quality

BOUNDS = Quality(usable=0.8, norm_low=1e-3, norm_high=1e6)
IDS = tuple(f"p{i}" for i in range(10))
OFFSETS = np.arange(0, 33, 3)[:11]  # three tokens a prompt
KEYS = [("last_token", "blocks.0.hook_resid_post"), ("last_token", "blocks.1.hook_resid_post")]


class Activations(dict):
    """(aggregation, hook) -> rows, as `shards.Merged` gives their norms and peaks."""

    def norms(self, aggregation, hook):
        return np.linalg.norm(self[aggregation, KEYS[hook][1]].astype(np.float64), axis=1)

    def peaks(self, aggregation, hook):
        return np.abs(self[aggregation, KEYS[hook][1]]).max(axis=1)


def activations():
    return Activations({key: np.ones((10, 4), np.float32) for key in KEYS})


def run(collected, aggregations=("last_token",)):
    params = SimpleNamespace(sites=["resid_post"], aggregations=aggregations, quality=BOUNDS)
    return check_quality(collected, IDS, OFFSETS, 2, params)


def test_sound_activations_pass():
    usable, report = run(activations())
    assert usable.tolist() == list(range(10))
    assert (report["prompts"], report["usable"], report["dropped"], report["hooks"]) == (10, 10, {}, 2)
    assert report["norms"]["last_token"]["resid_post"] == {
        "median": [2, 2],
        "largest_over_median": [1, 1],
        "largest_value": [1, 1],
    }


@pytest.mark.parametrize(
    ("value", "reason"), [(np.nan, "norm nan"), (np.inf, "norm inf"), (1e7, r"norm 1e\+07"), (-np.inf, "norm inf")]
)
def test_a_few_bad_prompts_are_dropped_by_id_with_the_reason(value, reason):
    collected = activations()
    collected[KEYS[1]][3, 0] = value
    usable, report = run(collected)
    assert usable.tolist() == [0, 1, 2, 4, 5, 6, 7, 8, 9]
    assert list(report["dropped"]) == ["p3"]
    assert report["dropped"]["p3"].replace("+", r"\+").startswith(reason)
    assert report["dropped"]["p3"].endswith("last_token/blocks.1.hook_resid_post")


def test_vanishing_vectors_are_unusable():
    collected = activations()
    collected[KEYS[0]][0] = 0
    assert run(collected).report["dropped"] == {"p0": "norm 0 at last_token/blocks.0.hook_resid_post"}


def test_too_many_bad_prompts_fail_and_are_named():
    collected = activations()
    collected[KEYS[0]][:2] = np.nan
    run(collected)  # 8 of 10 is exactly enough
    collected[KEYS[1]][5] = np.nan
    message = "only 7 of 10 prompts are usable, 80% expected.*p0: norm nan at last_token/blocks.0.*p5: norm nan at last_token/blocks.1"
    with pytest.raises(QualityError, match=message):
        run(collected)


def test_a_bad_token_makes_its_prompt_unusable():
    collected = Activations({("all_tokens", hook): np.ones((30, 4), np.float32) for _, hook in KEYS})
    collected["all_tokens", KEYS[0][1]][17] = np.nan
    assert list(run(collected, ("all_tokens",)).report["dropped"]) == ["p5"]


def test_a_hook_without_a_finite_row_is_reported_not_computed():
    collected = activations()
    collected[KEYS[1]][:] = np.nan
    with pytest.raises(QualityError, match="only 0 of 10 prompts are usable"):
        run(collected)
