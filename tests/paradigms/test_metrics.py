"""The few numbers in the metrics of this study: their keys, their means, and what is left out."""

import numpy as np
import pandas as pd
import pytest

from stages.paradigms.metrics import (
    hypothesis_metrics,
    measure_metrics,
    path_metrics,
    perturbation_metrics,
    probe_metrics,
)
from stages.paradigms.path_records import measure_paths
from stages.paradigms.sensitivity_records import prompt_means
from stages.paradigms.tables import PERTURBED_TABLES
from stages.paradigms.weight_records import missing_records
from tests.paradigms.test_path_records import PARAMS as PATH_PARAMS
from tests.paradigms.test_path_records import PARTS, TOKENS, D, N, laws, table
from tests.paradigms.test_perturbed_records import study
from tests.paradigms.test_probe_records import COMMON, gaussian, olmo3, values  # noqa: F401
from tests.paradigms.test_probe_records import PARAMS as PROBE_PARAMS
from tests.support.measure_params import measure_params


def records():
    rows = [
        (site, position, measure, variant, value, index)
        for site, shift in (("resid_post", 0.0), ("resid_mid", 9.0))
        for position, at in (("last_token", 0.0), ("mean", 0.1))
        for measure, variant, value, index in (
            ("preservation", "centred_k3", 0.6 + at + shift, 0.7 + at + shift),
            ("preservation", "centred_k3", 0.8 + at + shift, np.nan),
            ("preservation", "centred_k2", 0.1, 0.1),
            ("effective_rank", "centred_singular", 12 + shift, np.nan),
            ("cka", "debiased", np.nan, np.nan),
        )
    ]
    return pd.DataFrame(rows, columns=["site", "aggregation", "measure", "variant", "value", "index"])


def test_measure_metrics_are_means_at_the_sites_with_intervals_without_what_is_missing():
    metrics = measure_metrics(records(), measure_params(positions=["mean"], interval_sites=["resid_post"]))
    assert list(metrics) == ["preservation_centred_k3", "effective_rank_centred_singular"]  # no CKA has a value
    assert metrics["preservation_centred_k3"] == pytest.approx(
        {"same_prompts": 0.7, "index": 0.7, "index_at_mean": 0.8}
    )
    assert metrics["effective_rank_centred_singular"] == 12


def test_measure_metrics_of_nothing_are_empty():
    assert measure_metrics(records().head(0), measure_params()) == {}


def test_hypothesis_metrics_tell_the_prior_tests_apart():
    row = {
        "hypothesis": "rl_zero_over_sft",
        "estimate": 0.3,
        "low": 0.2,
        "high": float("nan"),
        "verdict": "strong",
        "scope": "",
    }
    assert hypothesis_metrics([row]) == {"rl_zero_over_sft": {"estimate": 0.3, "low": 0.2, "verdict": "strong"}}
    legacy = {"legacy_welch_p": 0.01, "legacy_mann_whitney_p": 0.02, "legacy_cohen_d": 2.0, "legacy_decision": "strong"}
    assert hypothesis_metrics([row | legacy])["rl_zero_over_sft"]["legacy_over_layers"] == {
        "welch_p": 0.01, "mann_whitney_p": 0.02, "cohen_d": 2.0, "legacy_decision": "strong", "pseudo_replicated": True,
    }  # fmt: skip


def test_probe_metrics_leave_out_what_is_missing(values):  # noqa: F811
    weights = missing_records({"a.weight": gaussian(4, 4)}, "its own reference", PROBE_PARAMS, COMMON)
    found = probe_metrics(prompt_means(values, PROBE_PARAMS), weights, float("nan"), PROBE_PARAMS)
    assert set(found) == {"relative_noise_response_last_layer", "jacobian_frobenius_norm", "expansion_exponent"}


def test_perturbation_metrics_of_made_up_nulls():
    found = perturbation_metrics(PERTURBED_TABLES.typed("points", study()), "rl_zero-s0", 0.25)
    assert found["index"] == pytest.approx(0.8) and found["displacement"] == 0.1
    assert found["negated"]["index"] == pytest.approx(0.81)
    assert found["at_displacement_of_rl_zero-s0"]["index"] == pytest.approx(0.99)
    # below all four of one kind, above all four of the other
    assert found["isotropic"] == pytest.approx(
        {"mean": 0.93, "lowest": 0.90, "highest": 0.96, "p_keeps_less": 1 / 5, "p_keeps_more": 1}
    )
    assert (found["spectrum_preserving"]["p_keeps_less"], found["spectrum_preserving"]["p_keeps_more"]) == (1, 1 / 5)


def test_without_a_matched_point_there_is_no_leaf():
    assert not [
        key
        for key in perturbation_metrics(PERTURBED_TABLES.typed("points", study()), "x", None)
        if key.startswith("at_")
    ]


def test_path_metrics_are_the_means_of_the_deepest_variant():
    x, y = laws(0, turn=1.2)
    rows = measure_paths(x, y, PATH_PARAMS, PARTS) + measure_paths(x, x, PATH_PARAMS, PARTS)
    found = path_metrics(rows)
    assert set(found) == {"signature_distance_k3_degree3", "signature_shift_k3_degree3", "signed_area_distance_k3"}
    assert found["signed_area_distance_k3"] == pytest.approx(table(x, y)["signed_area_distance", "k3"]["value"] / 2)


def test_path_metrics_leave_out_what_is_missing():
    path = np.cumsum(np.random.default_rng(0).standard_normal((TOKENS, D)), axis=0)
    assert path_metrics(measure_paths([path] * N, [path + 1] * N, PATH_PARAMS, PARTS)) == {}
