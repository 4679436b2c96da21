"""The test stage on synthetic records: what it must find, what it must reject, what it must not decide."""

import json

import numpy as np
import pandas as pd
import pytest
import yaml

from stages.paradigms import test as stage
from stages.paradigms.params import Hypotheses
from stages.paradigms.tables import RECORD_COLUMNS, RECORD_TABLES
from stages.shared.params import ParamsError, load
from stages.shared.tables import TableError
from tests.support.damage import rewrite_table
from tests.support.training_records import training_record

TASKS, LAYERS, DRAWS, N = ("logic", "strings"), 4, 60, 1000
TOTAL = {"name": "more_than_sft", "quantity": "preservation_index", "more": "rl_zero", "less": "sft", "effect": "total"}
MATCHED = {**TOTAL, "name": "more_at_matched", "less": "sft_matched", "effect": "at_matched_displacement"}
RANK = {**TOTAL, "name": "rank", "quantity": "effective_rank", "more": "sft", "less": "rl_zero"}
PARAMS = {
    "study": {"seeds": [0], "organisms": ["base", "sft", "rl_zero", "sft_matched"], "models": {}, "tasks": list(TASKS), "benchmarks": []},
    "measure": {
        "aggregation": "last_token", "positions": [], "unlike": [], "ks": [8], "headline_k": 8, "interval_sites": ["resid_post"], "half_samples": 60,
        "plain_half_samples": 12, "confidence": 0.95, "decay_ranks": [{"first": 0.08, "last": 0.5}], "bands": [0, 0.3, 1], "components_share": 0.9,
        "legacy_k": 100, "nulls": {"subspaces": 100, "spectra": 2}, "topology": None, "seed": 0,
    },
    "hypotheses": {
        "site": "resid_post", "margins": {"strong": 0.20, "moderate": 0.10, "equivalent": 0.05}, "alpha": 0.05,
        "matched_within": 0.05, "families_for_paradigms": 6, "declared": [TOTAL],
    },
}  # fmt: skip
QUANTITIES = (("preservation", "centred_k8", "index"), ("effective_rank", "centred_singular", "value"))
LEGACY = (("preservation", "raw_legacy"), ("effective_rank", "raw_singular"))


def measure(model, index, rank=20.0, spread=0.02, seed=0, missing_layers=(), later=None):
    """Records of a model with one index and one effective rank at all layers; ``spread`` is the error of a half-sample.

    ``later``: its index at the end of the reasoning, if that was collected.
    """
    tables = [tables_of(model, "last_token", index, rank, spread, seed, missing_layers)]
    if later is not None:
        tables.append(tables_of(model, "reasoning_end", later, rank, spread, seed, missing_layers))
    RECORD_TABLES.write(stage.RECORDS / model, {name: pd.concat([part[name] for part in tables]) for name in tables[0]})


def tables_of(model, aggregation, index, rank, spread, seed, missing_layers):
    generator = np.random.default_rng(seed)
    records, replicates = [], []
    for task in TASKS:
        for layer in range(LAYERS):
            place = {"task": task, "site": "resid_post", "layer": layer, "aggregation": aggregation}
            for measure, variant, quantity in QUANTITIES:
                value = {"index": index, "value": rank}[quantity]
                half = spread * generator.standard_normal(DRAWS // 2) * (rank if quantity == "value" else 1)
                noise = np.stack([half, -half], axis=1).ravel()  # of complementary halves, side by side
                if layer in missing_layers:
                    value, noise = np.nan, np.full(DRAWS, np.nan)
                records.append({**place, "measure": measure, "variant": variant, "value": value, "index": value})
                replicates += [
                    {
                        **place,
                        "measure": measure,
                        "variant": variant,
                        "quantity": quantity,
                        "replicate": b,
                        "value": value + noise[b],
                    }
                    for b in range(DRAWS)
                ]
            for measure, variant in LEGACY:
                value = (index if measure == "preservation" else rank) + 0.01 * layer
                records.append({**place, "measure": measure, "variant": variant, "value": value, "index": np.nan})
    empty = {name: "" if kind == "str" else 0.0 for name, kind in RECORD_COLUMNS["records"].items()}
    records = pd.DataFrame([{**empty, "model": model, "n": N, **row} for row in records])
    empty_tables = {
        name: pd.DataFrame(columns=list(RECORD_COLUMNS[name])) for name in ("spectra", "rarefaction", "layers")
    }
    return {"records": records, "replicates": pd.DataFrame(replicates), **empty_tables}


def train(model, displacement=0.03, gap=None):
    stage.TRAINING.mkdir(parents=True, exist_ok=True)
    content = training_record(displacement_from_base=displacement)
    if gap is not None:
        content["matching"] = {"by": "displacement", "wanted": 0.03, "reached": 0.03 * (1 + gap), "relative_gap": gap}
    (stage.TRAINING / f"{model}.json").write_text(json.dumps(content))


def run(folder, study=None, **hypotheses):
    params = {
        **PARAMS,
        "study": {**PARAMS["study"], **(study or {})},
        "hypotheses": {**PARAMS["hypotheses"], **hypotheses},
    }
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    stage.main()
    return json.loads(stage.METRICS.read_text()), pd.read_csv(stage.TABLE).set_index("hypothesis")


@pytest.fixture
def study(tmp_path, monkeypatch):
    """RL-Zero at 1.0, SFT at 0.7, its matched control at 0.99."""
    monkeypatch.chdir(tmp_path)
    for seed, (model, index, rank) in enumerate(
        (("rl_zero", 1.0, 20.0), ("sft", 0.7, 26.0), ("sft_matched", 0.99, 20.2))
    ):
        measure(f"{model}-s0", index, rank, seed=seed)
        train(f"{model}-s0", displacement=0.3 if model == "sft" else 0.03, gap=0.02 if model == "sft_matched" else None)
    return tmp_path


def test_a_planted_effect_is_strong_and_its_absence_equivalent(study):
    found, table = run(study, declared=[TOTAL, MATCHED, RANK])
    assert {name: leaves["verdict"] for name, leaves in found.items()} == {
        "more_than_sft": "strong",
        "more_at_matched": "equivalent",
        "rank": "strong",
    }
    assert found["more_than_sft"]["estimate"] == pytest.approx(0.3)
    assert found["more_than_sft"]["low"] < 0.3 < found["more_than_sft"]["high"]
    assert found["rank"]["estimate"] == pytest.approx(np.log(26 / 20), abs=1e-5)
    assert found["more_than_sft"]["scope"].startswith("of these two models")
    assert table.loc["more_than_sft", ["displacement_more", "displacement_less", "kl_more"]].tolist() == [
        0.03,
        0.3,
        0.1,
    ]


def test_the_other_way_round_is_reversed(study):
    found, _ = run(study, declared=[{**TOTAL, "more": "sft", "less": "rl_zero"}])
    assert found["more_than_sft"]["verdict"] == "reversed"


def test_an_imprecise_difference_is_undecided(study):
    measure("rl_zero-s0", 1.0, spread=1.0)
    assert run(study)[0]["more_than_sft"]["verdict"] == "undecided"


@pytest.mark.parametrize(
    ("gap", "verdict"),
    [
        (0.123, "not decided: the control is not matched (gap 12.3 % of the wanted displacement, at most 5 %)"),
        (None, "not decided: no record that either side was matched by displacement"),
        (0.05, "equivalent"),
    ],
)
def test_a_controlled_effect_needs_its_control(study, gap, verdict):
    train("sft_matched-s0", gap=gap)
    found, table = run(study, declared=[MATCHED])
    assert found["more_at_matched"]["verdict"] == verdict
    assert table.loc["more_at_matched", "estimate"] == pytest.approx(0.01)


def test_a_control_matched_by_something_else_does_not_count(study):
    found, _ = run(study, declared=[{**MATCHED, "effect": "at_matched_kl"}])
    assert found["more_at_matched"]["verdict"].startswith("not decided: no record that either side was matched by kl")


def test_an_organism_left_out_is_said_and_not_tested(study):
    found, _ = run(study, study={"organisms": ["base", "rl_zero", "sft_matched"]}, declared=[TOTAL, MATCHED])
    assert found["more_than_sft"] == {"verdict": "not tested: sft is not in study.organisms"}
    assert found["more_at_matched"]["verdict"] == "equivalent"


def test_a_name_that_is_nothing_is_an_error(study):
    with pytest.raises(ParamsError, match="more_than_sft names 'sftt', which is no organism"):
        run(study, declared=[{**TOTAL, "less": "sftt"}])
    assert not stage.METRICS.exists() and not stage.TABLE.exists()


def test_two_models_of_the_study_by_slug(study):
    for slug, index in (("big", 1.0), ("big-rl", 0.98), ("big-sft", 0.6)):
        measure(slug, index, seed=len(slug))
    models = {"models": {"big": "big", "big-rl": "big", "big-sft": "big"}}
    found, table = run(study, study=models, declared=[{**TOTAL, "more": "big-rl", "less": "big-sft"}])
    assert found["more_than_sft"]["verdict"] == "strong" and np.isnan(table.loc["more_than_sft", "displacement_more"])
    with pytest.raises(ParamsError, match="compares an organism with a model of study.models"):
        run(study, study=models, declared=[{**TOTAL, "less": "big-sft"}])


def test_models_with_different_references_are_not_compared(study):
    for slug in ("big", "small", "big-rl", "small-sft"):
        measure(slug, 0.9)
    models = {"models": {"big": "big", "small": "small", "big-rl": "big", "small-sft": "small"}}
    with pytest.raises(ParamsError, match="have different references"):
        run(study, study=models, declared=[{**TOTAL, "more": "big-rl", "less": "small-sft"}])


def test_six_families_give_a_verdict_on_paradigms(study):
    for seed in range(6):
        measure(f"rl_zero-s{seed}", 1.0 + 0.01 * seed, seed=seed)
        measure(f"sft-s{seed}", 0.7, seed=10 + seed)
        for model in ("rl_zero", "sft"):
            train(f"{model}-s{seed}")
    found, table = run(study, study={"seeds": list(range(6))})
    assert found["more_than_sft"]["scope"] == "of the paradigms: a paired t-interval over 6 families"
    assert table.loc["more_than_sft", "standard_error"] == pytest.approx(
        np.std(0.01 * np.arange(6), ddof=1) / np.sqrt(6), rel=1e-4
    )


def test_six_families_have_an_effect_size_and_a_mixed_model_beside_the_interval(study):
    """The made-up tasks of a family differ by nothing: a model that cannot tell tasks from noise is named, not trusted."""
    gap = np.random.default_rng(0).normal(0.3, 0.05, 6)
    for seed in range(6):
        measure(f"rl_zero-s{seed}", 0.7 + gap[seed], seed=seed)
        measure(f"sft-s{seed}", 0.7, seed=10 + seed)
        for model in ("rl_zero", "sft"):
            train(f"{model}-s{seed}")
    found, _ = run(study, study={"seeds": list(range(6))})
    leaves = found["more_than_sft"]
    assert leaves["cohen_dz"] == pytest.approx(gap.mean() / gap.std(ddof=1), rel=1e-4)
    assert leaves["family_sd"] == pytest.approx(gap.std(ddof=1), rel=1e-4)
    assert ("mixed_p" in leaves) != ("mixed_note" in leaves)
    few, _ = run(study, study={"seeds": list(range(5))})
    assert "family_sd" in few["more_than_sft"] and "cohen_dz" not in few["more_than_sft"]


def test_a_hypothesis_names_its_position_in_the_text(study):
    measure("rl_zero-s0", 1.0, later=0.9)
    measure("sft-s0", 0.7, seed=1, later=0.88)
    after = {**TOTAL, "name": "after_reasoning", "aggregation": "reasoning_end"}
    found, table = run(study, declared=[TOTAL, after])
    assert found["more_than_sft"]["estimate"] == pytest.approx(0.3)
    assert (
        found["after_reasoning"]["estimate"] == pytest.approx(0.02)
        and found["after_reasoning"]["verdict"] == "equivalent"
    )
    assert table["aggregation"].tolist() == ["last_token", "reasoning_end"]


def test_a_position_that_was_not_collected_names_the_fix(study):
    with pytest.raises(
        TableError, match="no records of reasoning_end, only of last_token: add reasoning_end to collect.agg"
    ):
        run(study, declared=[{**TOTAL, "aggregation": "reasoning_end"}])


def test_a_control_continued_from_another_parent_is_matched_by_its_own_record(study):
    """Displacements from the base differ, the matched ones, from the common parent, do not."""
    measure("think-s0", 0.71, seed=4)
    measure("sft_continued-s0", 0.70, seed=5)
    train("think-s0", displacement=0.32)
    train("sft_continued-s0", displacement=0.35, gap=0.01)
    organisms = {"organisms": ["base", "sft", "think", "sft_continued"]}
    found, table = run(study, study=organisms, declared=[{**MATCHED, "more": "think", "less": "sft_continued"}])
    assert found["more_at_matched"]["verdict"] == "equivalent"
    assert table.loc["more_at_matched", "matching_gap"] == 0.01


def test_correction_is_over_the_hypotheses_that_were_tested(study):
    measure("rl_zero-s0", 1.0, spread=0.2, seed=3)
    absent = {**TOTAL, "name": "absent", "less": "think"}
    _, alone = run(study)
    _, several = run(study, declared=[TOTAL, {**TOTAL, "name": "again"}, absent])
    assert alone.loc["more_than_sft", "p_holm"] == alone.loc["more_than_sft", "p"]
    assert several.loc["more_than_sft", "p_holm"] == pytest.approx(2 * several.loc["more_than_sft", "p"], rel=1e-4)


def test_layers_without_the_quantity_are_left_out_and_counted(study):
    measure("sft-s0", 0.7, missing_layers=(0,), seed=1)
    found, table = run(study)
    assert found["more_than_sft"]["verdict"] == "strong"
    assert table.loc["more_than_sft", ["used", "cells"]].tolist() == [6, 8]


def test_a_quantity_missing_everywhere_is_said(study):
    measure("sft-s0", 0.7, missing_layers=range(LAYERS))
    assert run(study)[0]["more_than_sft"]["verdict"].startswith("not tested: no (task, layer) has the quantity")


def test_the_prior_studys_test_stands_beside_it_and_says_what_it_is(study):
    found, table = run(study)
    legacy = found["more_than_sft"]["legacy_over_layers"]
    assert legacy["pseudo_replicated"] is True and legacy["legacy_decision"] == "strong"
    assert set(legacy) == {"welch_p", "mann_whitney_p", "cohen_d", "legacy_decision", "pseudo_replicated"}
    assert table.loc["more_than_sft", "legacy_pseudo_replicated"] and table.loc["more_than_sft", "legacy_welch_t"] > 10
    assert table.loc["more_than_sft", "legacy_mann_whitney_u"] == LAYERS**2


def test_metrics_stay_small(study):
    def leaves(node):
        return sum(map(leaves, node.values())) if isinstance(node, dict) else 1

    assert leaves(run(study)[0]) <= 11


def test_files_of_models_that_are_not_in_the_study_are_not_opened(study):
    before = run(study)[0]
    (stage.RECORDS / "think-s0").mkdir()
    (stage.RECORDS / "think-s0" / "records.parquet").write_text("rubbish")
    assert run(study)[0] == before


def test_missing_records_and_training_name_the_fix(study):
    (stage.TRAINING / "sft-s0.json").unlink()
    with pytest.raises(TableError, match="sft-s0.json not found: .*`dvc repro sft`"):
        run(study)
    (stage.RECORDS / "sft-s0" / "replicates.parquet").unlink()
    with pytest.raises(TableError, match="dvc repro measure@sft-0"):
        run(study)


def test_a_site_without_records_or_half_samples_names_the_parameter(study):
    with pytest.raises(TableError, match="no records at resid_mid for logic, strings"):
        run(study, site="resid_mid")
    path = stage.RECORDS / "sft-s0" / "replicates.parquet"
    rewrite_table(path, lambda table: table.iloc[:0])
    with pytest.raises(TableError, match="add resid_post to measure.interval_sites"):
        run(study)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"margins": {"strong": 0.1, "moderate": 0.2, "equivalent": 0.05}}, "equivalent < moderate < strong"),
        ({"declared": [TOTAL, TOTAL]}, "the name 'more_than_sft' stands more than once"),
        ({"declared": [{**TOTAL, "less": "rl_zero"}]}, "more and less are both 'rl_zero'"),
        ({"declared": [{**TOTAL, "effect": "matched"}]}, "hypotheses.declared.0.effect"),
        ({"declared": [{**TOTAL, "aggregation": "all_tokens"}]}, "hypotheses.declared.0.aggregation"),
        ({"declared": [{**TOTAL, "directoin": 1}]}, "unknown key hypotheses.declared.0.directoin"),
    ],
)
def test_mistakes_in_the_declaration_are_named(tmp_path, change, message):
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump({"hypotheses": {**PARAMS["hypotheses"], **change}}))
    with pytest.raises(ParamsError, match=message):
        load("hypotheses", Hypotheses, path)
