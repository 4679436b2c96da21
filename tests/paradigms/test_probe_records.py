"""Records of probes: planted updates are found against their nulls, nothing is found in noise; isometries expand nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from stages.activations.tokens import Tokens
from stages.paradigms.params import ProbeParams
from stages.paradigms.sensitivity import frobenius_norm, noise_response
from stages.paradigms.sensitivity_records import measures, missing_means, prompt_means, prompt_values
from stages.paradigms.tables import PROBE_COLUMNS, PROBE_TABLES
from stages.paradigms.weight_records import (
    DEFICIENT,
    STILL,
    VECTOR,
    layer_and_kind,
    leading,
    missing_records,
    update_records,
)
from tests.support.tiny_models import WIDTH, tiny_model

PARAMS = ProbeParams(
    prompts=3, draws=4, singular_prompts=2, singular_tolerance=0.1, overlap_shares=[0.25, 0.5], null_draws=4,
    confidence=0.95, seed=0,
)  # fmt: skip
COMMON = {"model": "sft-s0", "reference": "base-s0"}
SIDE = 32
IDS = ([3, 7, 9, 11, 4], [5, 6, 7], [8, 3, 12, 9])
TOKENS = {
    task: Tokens(tuple(f"{task}-{i}" for i in range(3)), [np.array(ids) for ids in IDS], [])
    for task in ("logic", "strings")
}


def gaussian(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def measured(update, base=None, name="model.layers.0.mlp.up_proj.weight"):
    """Rows by measure and variant, of one tensor."""
    base = gaussian(*update.shape, seed=9) if base is None else base
    records, _ = update_records({name: base}, {name: update}, PARAMS, COMMON)
    return PROBE_TABLES.typed("weights", records).set_index(["measure", "variant"])


# ---------------------------------------------------------------- weights
def test_a_planted_low_rank_update_is_found_against_the_null():
    rank = measured(gaussian(SIDE, 2, seed=1) @ gaussian(2, SIDE, seed=2)).loc[("update_effective_rank", "singular")]
    assert rank["value"] <= 2 + 1e-6 < 0.2 * rank["null"]


def test_noise_has_the_rank_and_the_overlaps_of_the_null():
    found = measured(gaussian(SIDE, SIDE, seed=1))
    rank = found.loc[("update_effective_rank", "singular")]
    assert rank["value"] == pytest.approx(rank["null"], rel=0.05)
    overlaps = found[found["note"] != ""]
    assert len(overlaps) == 6
    assert_allclose(overlaps["value"], overlaps["null"], rtol=0.25)


def test_an_update_along_the_leading_directions_of_the_base_overlaps_with_them():
    base = gaussian(SIDE, SIDE)
    u, s, v = np.linalg.svd(base)
    along = (u[:, :8] * s[:8]) @ v[:8]
    row = measured(along, base).loc[("overlap_both", "share_0.25")]
    assert row["value"] == pytest.approx(1) and row["null"] == pytest.approx((8 / SIDE) ** 2)
    assert row["note"] == "k = 8"
    across = (u[:, 8:] * s[8:]) @ v[8:]
    assert measured(across, base).loc[("overlap_both", "share_0.25"), "value"] == pytest.approx(0, abs=1e-12)


def test_displacement_and_norms_are_those_of_all_tensors():
    base = {"a.weight": gaussian(6, 4), "model.layers.0.norm.weight": gaussian(5, seed=1)}
    update = {name: 0.1 * weight for name, weight in base.items()}
    records, displacement = update_records(base, update, PARAMS, COMMON)
    assert displacement == pytest.approx(0.1)
    norms = records.set_index(["tensor", "measure"])["value"]
    assert norms["a.weight", "relative_update_norm"] == pytest.approx(0.1)
    assert norms["a.weight", "base_norm"] == pytest.approx(np.linalg.norm(base["a.weight"]))


@pytest.mark.parametrize(
    ("update", "base", "reason"),
    [
        (gaussian(7), None, VECTOR),
        (np.zeros((6, 6)), None, STILL),
        (gaussian(8, 8), gaussian(8, 1) @ gaussian(1, 8), DEFICIENT),
        (gaussian(6), np.zeros(6), "the base weight is zero"),
    ],
)
def test_what_is_missing_has_its_reason_and_nothing_else_has(update, base, reason):
    found = measured(update, base)
    assert reason in set(found["missing"])
    assert (found["value"].isna() == (found["missing"] != "")).all()


def test_records_without_an_update_are_all_missing_with_the_rows_of_those_that_have_one():
    weights = {"model.layers.0.mlp.up_proj.weight": gaussian(6, 6)}
    found = PROBE_TABLES.typed("weights", missing_records(weights, "for a reason", PARAMS, COMMON))
    assert set(found["missing"]) == {"for a reason"} and found["value"].isna().all()
    other = measured(gaussian(6, 6, seed=2)).reset_index()
    assert list(found["measure"] + found["variant"]) == list(other["measure"] + other["variant"])


def test_a_stack_of_matrices_has_their_mean():
    base, update = gaussian(2, 8, 8), gaussian(2, 8, 8, seed=1)
    found = measured(update, base)
    each = [measured(u, b) for u, b in zip(update, base, strict=True)]
    for key in [("update_effective_rank", "singular"), ("overlap_left", "share_0.5")]:
        assert found.loc[key, "value"] == pytest.approx(np.mean([one.loc[key, "value"] for one in each]))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("model.layers.11.self_attn.q_proj.weight", (11, "self_attn.q_proj")),
        ("transformer.h.0.attn.c_attn.bias", (0, "attn.c_attn.bias")),
        ("model.embed_tokens.weight", (-1, "embed_tokens")),
        ("lm_head.weight", (-1, "lm_head")),
        ("model.layers.2.mlp.experts.5.up_proj.weight", (2, "mlp.experts.5.up_proj")),
    ],
)
def test_layer_and_kind_of_a_parameter(name, expected):
    assert layer_and_kind(name) == expected


def test_leading_directions_are_shares_of_the_smaller_side():
    assert leading((551, 64), [0.125, 1.0]) == [8, 64]
    assert leading((3, 6, 4), [0.01, 0.5]) == [1, 2]


# ---------------------------------------------------------------- sensitivity
@pytest.fixture(scope="module")
def olmo3():
    return tiny_model("olmo3")


@pytest.fixture(scope="module")
def values(olmo3):
    return PROBE_TABLES.typed("sensitivity", prompt_values(olmo3, TOKENS, PARAMS, COMMON))


def test_values_are_those_of_the_functions_with_the_top_singular_value_of_the_first_prompts(values, olmo3):
    row = values.set_index(["measure", "task", "prompt", "layer"])["value"].sort_index()
    response = noise_response(olmo3, IDS[1], draws=4)
    assert_allclose(row["noise_response", "logic", "logic-1"], response.mean)
    assert_allclose(row["relative_noise_response", "logic", "logic-1"], response.mean / response.stream)
    assert_allclose(
        row["jacobian_frobenius_norm", "strings", "strings-2"], frobenius_norm(olmo3, IDS[2], draws=4).value
    )
    counts = values.groupby("measure")["prompt"].nunique()
    assert counts["jacobian_top_singular_value"] == 4 and counts.drop("jacobian_top_singular_value").eq(6).all()
    assert set(values["measure"]) == set(measures(PARAMS))


def test_means_over_prompts_and_their_error(values):
    records = PROBE_TABLES.typed("records", prompt_means(values, PARAMS))
    assert not records.duplicated(["task", "layer", "measure"]).any() and (records["missing"] == "").all()
    one = records[(records["task"] == "logic") & (records["layer"] == 1)].set_index("measure")
    of = values[(values["task"] == "logic") & (values["layer"] == 1)].groupby("measure")["value"]
    assert_allclose(one["value"], of.mean()[one.index])
    assert_allclose(one["standard_error"], of.std(ddof=1)[one.index] / np.sqrt(one["n"]))
    assert_allclose(one["high"] - one["value"], 1.959964 * one["standard_error"], rtol=1e-6)
    assert one.loc["expansion_exponent", "null"] == 0 and np.isnan(one.loc["noise_response", "null"])
    assert one["note"].str.contains("null").all()


def test_layers_that_do_nothing_are_an_isometry():
    """Every block adds zero: exponents and growth are 0, the norm of the Jacobian is that of the identity."""
    model = tiny_model("olmo3")
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "layernorm" in name:
                weight.zero_()
    found = prompt_means(prompt_values(model, TOKENS, PARAMS, COMMON), PARAMS).groupby("measure")["value"]
    for measure in ("expansion_exponent", "stream_growth"):
        assert_allclose(found.get_group(measure), 0, atol=1e-6)
    assert_allclose(found.get_group("jacobian_frobenius_norm"), np.sqrt(WIDTH), rtol=1e-6)
    assert_allclose(found.get_group("jacobian_top_singular_value"), 1, rtol=1e-6)


def test_a_model_that_cannot_be_differentiated_has_its_reason_in_every_record():
    found = PROBE_TABLES.typed("records", missing_means(["logic"], 3, "quantised", PARAMS, COMMON))
    assert len(found) == 3 * len(measures(PARAMS)) and set(found["missing"]) == {"quantised"}
    assert list(found.columns) == list(PROBE_COLUMNS["records"])
